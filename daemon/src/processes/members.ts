import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { MARK } from "./environment.ts";

/** How long a process may take to end by itself when it is asked to, in milliseconds. */
const TERM_WAIT = 5_000;
const KILL_WAIT = 5_000;
const LOOK_EVERY = 25;

/**
 * The processes of one start: the process group that was made for it, and on Linux also whoever left that group
 * (`setsid`, a daemon of its own) and has the start's mark in its environment, as all its descendants have.
 */
export interface Members {
  /** Id of the group; null when it is not certain that it still is ours: ids are used again. */
  readonly group: number | null;
  readonly mark: string;
}

/**
 * Asks them to end, and ends those that have not after a while. Returns whether all have ended; one that hangs in
 * the kernel (a dead network disk) can't be ended by anybody.
 */
export async function endMembers(members: Members): Promise<boolean> {
  for (const [name, wait] of [
    ["SIGTERM", TERM_WAIT],
    ["SIGKILL", KILL_WAIT],
  ] as const) {
    signalMembers(members, name);
    for (const until = Date.now() + wait; Date.now() < until; await sleep(LOOK_EVERY)) {
      if (!isAnyLeft(members)) return true;
      // What was forked meanwhile has not had it.
      if (name === "SIGKILL") signalMembers(members, name);
    }
  }
  return !isAnyLeft(members);
}

export function signalMembers({ group, mark }: Members, name: NodeJS.Signals): void {
  if (group !== null) signal(-group, name);
  for (const one of marked(mark)) if (one.group !== group) signal(one.pid, name);
}

function isAnyLeft({ group, mark }: Members): boolean {
  if (process.platform !== "linux") return group !== null && signal(-group, 0);
  return processes().some((one) => one.group === group || hasMark(one.pid, mark));
}

interface Entry {
  readonly pid: number;
  readonly group: number;
}

function marked(mark: string): Entry[] {
  return processes().filter(({ pid }) => hasMark(pid, mark));
}

/** All that run, not this one, and not those that have ended and wait to be collected: see proc(5). */
function processes(): Entry[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc").flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    const stat = read(`/proc/${pid}/stat`);
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    const [state = "X", , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" || state === "X" || state === "" ? [] : [{ pid, group: Number(group) }];
  });
}

function hasMark(pid: number, mark: string): boolean {
  return read(`/proc/${pid}/environ`).split("\0").includes(`${MARK}=${mark}`);
}

function read(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return ""; // it ended while we looked, or is somebody else's
  }
}

/** Whether there was somebody to signal. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // EPERM: macOS says so of a group of which only the dead are left; a member under another user is not ours to end.
    if (code === "ESRCH" || code === "EPERM") return false;
    throw error;
  }
}
