import { Client } from "@vlinder/agent-runtime";
import { memoryOf } from "../io.ts";
import { again, type Daemon } from "./daemon.ts";

export interface Measured<Reply> {
  readonly reply: Reply;
  /** Milliseconds. */
  readonly took: number;
  /** The daemon's peak above what it had before, in bytes. */
  readonly memory: number;
}

/** Asks a daemon that has done little yet for something large. */
export async function measured<Reply>(
  daemon: Daemon,
  work: (admin: Client) => Promise<Reply>,
): Promise<Measured<Reply>> {
  const admin = await again(() => Client.connect({ home: daemon.home, timeout: 60_000 }));
  try {
    await admin.admin("daemon.status");
    const idle = memoryOf(daemon.pid).now;
    const started = performance.now();
    const reply = await work(admin);
    return { reply, took: performance.now() - started, memory: memoryOf(daemon.pid).peak - idle };
  } finally {
    await admin.close();
  }
}
