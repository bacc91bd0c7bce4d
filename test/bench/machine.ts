import { execFile } from "node:child_process";
import { statfs } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, platform, release, tmpdir, totalmem } from "node:os";
import { promisify } from "node:util";
import type { ServerProgram } from "../../daemon/src/broker/server-program.ts";
import { megabytes } from "./figures.ts";

/** What the figures depend on, as it is shown. */
export type Machine = Readonly<Record<string, string>>;

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: "ext4",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0x01021994: "tmpfs: nothing is durable there",
  0x794c7630: "overlayfs",
};

export async function describeMachine(command: string, { version }: ServerProgram): Promise<Machine> {
  const { type } = await statfs(tmpdir());
  const commit = await gitCommit();
  return {
    date: new Date().toISOString().slice(0, 16).replace("T", " ") + " UTC",
    command,
    ...(commit === null ? {} : { commit }),
    cores: `${availableParallelism()} × ${cpus()[0]?.model ?? "unknown"}, ${megabytes(totalmem())}`,
    load: `${loadavg()[0]?.toFixed(1) ?? "?"} when it began (over ${availableParallelism()}: others use the machine)`,
    system: `${platform()} ${release()}, temporary files on ${FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`}`,
    node: process.version,
    "nats-server": version,
  };
}

async function gitCommit(): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)("git", ["rev-parse", "--short", "HEAD"], { cwd: import.meta.dirname });
    return stdout.trim();
  } catch {
    return null; // no git, or an unpacked archive: the date must do
  }
}
