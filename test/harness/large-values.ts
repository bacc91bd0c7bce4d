import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { MemoryWatch } from "./memory.ts";
import type { TestDaemon } from "./test-daemon.ts";

const CLIENT = fileURLToPath(new URL("./large-client.ts", import.meta.url));

export interface LargeRun {
  readonly hash: string;
  readonly size: number;
  readonly seconds: number;
  /** Bytes above idle. */
  readonly daemonMemory: number;
  readonly clientMemory: number;
}

/** Puts or gets a large value through a daemon with a client in a process of its own, and watches the memory of both. */
export async function runLarge(
  daemon: TestDaemon,
  mode: "put" | "get",
  agent: string,
  key: string,
  bytes: number,
): Promise<LargeRun> {
  const child = spawn(process.execPath, [CLIENT, mode, daemon.home, agent, key, String(bytes)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const watches = [new MemoryWatch(daemon.pid), new MemoryWatch(child.pid ?? 0)] as const;
  child.stdin.end("go\n");
  const line = await lines.next();
  const [daemonMemory, clientMemory] = watches.map((watch) => watch.stop()) as [number, number];
  await exited;
  if (line.done === true) throw new Error(`the client that was to ${mode} ${key} said nothing`);
  return { ...(JSON.parse(line.value) as Pick<LargeRun, "hash" | "size" | "seconds">), daemonMemory, clientMemory };
}
