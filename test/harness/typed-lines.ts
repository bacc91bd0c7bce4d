import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { splitCommandLine } from "../../daemon/src/processes/command-line.ts";
import { VLINDER } from "./programs.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface Typed {
  readonly code: number;
  /** Standard output, then standard error. */
  readonly text: string;
}

/** A machine that lines are typed on. */
export interface Machine {
  readonly name: string;
  /** VLINDER_HOME. */
  readonly home: string;
}

/** What somebody types in the clone, on one machine and another: each line runs `vlinder` as a process of its own. */
export class TypedLines {
  #machine: Machine | null = null;
  #shown = "";

  /** @param line begins with `vlinder`, and is split as a shell splits it */
  async type(machine: Machine, line: string): Promise<Typed> {
    const [program, ...words] = splitCommandLine(line);
    if (program !== "vlinder") throw new Error(`not a line of vlinder's: ${line}`);
    const typed = await run(machine.home, words);
    if (this.#machine !== null && this.#machine !== machine) this.#shown += `# on the ${machine.name}\n`;
    this.#machine = machine;
    const ended = typed.text === "" || typed.text.endsWith("\n") ? typed.text : `${typed.text}\n`;
    this.#shown += `$ ${line}\n${ended}`;
    return typed;
  }

  /** What has been typed and shown since it was asked for last. */
  take(): string {
    const shown = this.#shown;
    this.#shown = "";
    return shown;
  }
}

function run(home: string, words: readonly string[]): Promise<Typed> {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith("VLINDER_"));
  const env = { ...Object.fromEntries(others), VLINDER_HOME: home, NO_COLOR: "1" };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [VLINDER, ...words], { cwd: ROOT, env }, (_error, out, err) => {
      resolve({ code: child.exitCode ?? 128, text: out + err });
    });
    child.stdin?.end();
  });
}
