import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Ids of the processes whose command line has this text: a nats-server's has the home that it serves. */
export function processesWith(text: string): number[] {
  return commandLines()
    .filter(({ line, pid }) => line.includes(text) && pid !== process.pid)
    .map(({ pid }) => pid);
}

/**
 * Ids of the processes that have this text in their environment: an agent's has the home that it is served from. Only Linux
 * tells; elsewhere there are none.
 */
export function processesGiven(text: string): number[] {
  if (process.platform !== "linux") return [];
  return procFiles("environ").flatMap(({ pid, text: given }) =>
    given.includes(text) && pid !== process.pid ? [pid] : [],
  );
}

function commandLines(): { pid: number; line: string }[] {
  if (process.platform !== "linux") {
    const lines = execFileSync("ps", ["-axo", "pid=,args="], { encoding: "utf8" }).split("\n");
    return lines.map((line) => ({ pid: Number.parseInt(line, 10), line }));
  }
  return procFiles("cmdline").map(({ pid, text }) => ({ pid, line: text }));
}

function procFiles(name: string): { pid: number; text: string }[] {
  const pids = readdirSync("/proc").filter((entry) => /^\d+$/.test(entry));
  return pids.flatMap((pid) => {
    try {
      return [{ pid: Number(pid), text: readFileSync(`/proc/${pid}/${name}`, "utf8") }];
    } catch {
      return []; // it ended while we looked, or is somebody else's
    }
  });
}

/** Ends processes for good; those that have ended already are fine. */
export function endAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** Waits until something holds. @throws when it does not within the time */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  milliseconds = 10_000,
): Promise<void> {
  for (const end = Date.now() + milliseconds; Date.now() < end; await sleep(20)) if (await holds()) return;
  throw new Error(`not within ${milliseconds} ms: ${what}`);
}

/** A port that nobody has now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
