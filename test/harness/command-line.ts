import { execFile } from "node:child_process";
import { VLINDER } from "./programs.ts";

export interface CommandRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the `vlinder` command on a home, as a process of its own; nothing that this one serves has to wait for it. */
export function commandLine(home: string, args: readonly string[]): Promise<CommandRun> {
  const env = { ...process.env, VLINDER_HOME: home, NO_COLOR: "1" };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [VLINDER, ...args], { env, encoding: "utf8" }, (_error, out, err) => {
      resolve({ code: child.exitCode ?? -1, out, err });
    });
    child.stdin?.end();
  });
}
