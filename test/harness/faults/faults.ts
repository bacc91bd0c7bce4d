import { execFileSync } from "node:child_process";
import path from "node:path";
import Database from "better-sqlite3";
import type { TestDaemon } from "../test-daemon.ts";
import type { Fault } from "./fault.ts";
import { MOUNT_SKIP, SmallDisk } from "./full-disk.ts";
import { shimFault } from "./io-shim.ts";

/** Where a test's agent keeps its objects, when it says `sqlite://objects.db`. */
export function objectsFile(daemon: TestDaemon, agent: string): string {
  return path.join(daemon.home, "agents", agent, "objects.db");
}

const PRLIMIT_SKIP = ((): string | null => {
  if (process.platform !== "linux") return "prlimit is Linux's";
  try {
    execFileSync("prlimit", ["--version"], { stdio: "ignore" });
    return null;
  } catch {
    return "prlimit (util-linux) is not here";
  }
})();

/** No file of the process can grow: what a quota does. Needs no rights. */
const fileSizeLimit: Fault = {
  name: "no file can grow (prlimit --fsize)",
  skip: PRLIMIT_SKIP,
  prepare: () => {},
  inject: ({ pid }) => void execFileSync("prlimit", [`--pid=${pid}`, "--fsize=1:unlimited"]),
  heal: ({ pid }) => void execFileSync("prlimit", [`--pid=${pid}`, "--fsize=unlimited:unlimited"]),
  dispose: () => {},
};

/** Another program keeps the database locked. */
function locked(agent: string): Fault {
  let other: Database.Database | null = null;
  return {
    name: "another program holds the lock (BEGIN IMMEDIATE)",
    skip: null,
    prepare: () => {},
    inject: (daemon) => {
      other = new Database(objectsFile(daemon, agent), { fileMustExist: true });
      other.exec("BEGIN IMMEDIATE");
    },
    heal: () => {
      other?.close();
      other = null;
    },
    dispose: () => other?.close(),
  };
}

/** The whole home lies on a disk that fills up. */
function fullDisk(): Fault {
  let disk: SmallDisk | null = null;
  return {
    name: "the disk is full (tmpfs)",
    skip: MOUNT_SKIP,
    prepare: (daemon) => {
      disk = new SmallDisk("32m");
      daemon.home = path.join(disk.folder, "home");
    },
    inject: () => disk?.fill(),
    heal: () => disk?.free(),
    dispose: () => disk?.dispose(),
  };
}

/** All of them, for an agent whose objects are in `objects.db`. */
export function allFaults(agent: string): readonly Fault[] {
  return [
    fileSizeLimit,
    locked(agent),
    fullDisk(),
    shimFault("writes end with EIO", { call: "write", error: "EIO", file: "objects.db" }),
    shimFault("writes end with ENOSPC", { call: "write", error: "ENOSPC", file: "objects.db" }),
    shimFault("writes end with EROFS", { call: "write", error: "EROFS", file: "objects.db" }),
    shimFault("every fsync ends with EIO", { call: "fsync", error: "EIO", file: "objects.db" }),
    shimFault("every fsync loses what was written", { call: "fsync-lost", error: "EIO", file: "objects.db" }),
  ];
}
