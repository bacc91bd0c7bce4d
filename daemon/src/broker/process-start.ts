import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { isAbsent } from "./private-file.ts";

/**
 * When the process with this id was started, as a text that no other process of that id has: ids
 * are used again, also after a restart of the machine. Null when no such process runs.
 */
export function processStart(pid: number): string | null {
  switch (process.platform) {
    case "linux":
      return linuxStart(pid);
    case "win32":
      return ask("powershell", ["-NoProfile", "-Command", `(Get-Process -Id ${pid}).StartTime.ToFileTimeUtc()`]);
    default:
      return ask("ps", ["-o", "lstart=", "-p", String(pid)]);
  }
}

/** The boot's id and the start in clock ticks since boot: field 22 of /proc/<pid>/stat, see proc(5). */
function linuxStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, start] = [fields[0], fields[19]];
    // A zombie is over; in a container without an init process it may stay for ever.
    if (state === "Z" || state === "X" || start === undefined) return null;
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${start}`;
  } catch (error) {
    if (isAbsent(error) || (error instanceof Error && "code" in error && error.code === "ESRCH")) return null;
    throw error;
  }
}

function ask(program: string, args: string[]): string | null {
  try {
    // In one language, whichever the terminal or the service manager has: the texts are compared.
    const env = { ...process.env, LC_ALL: "C", TZ: "UTC" };
    const output = execFileSync(program, args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "ignore"] }).trim();
    return output === "" ? null : output;
  } catch (error) {
    // Both programs answer with a failure when there is no such process.
    if (error instanceof Error && "status" in error && typeof error.status === "number") return null;
    throw error;
  }
}
