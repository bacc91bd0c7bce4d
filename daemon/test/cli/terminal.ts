import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** Ways to give a program a terminal, without a native module: util-linux's `script`, or Python. */
const WAYS: readonly {
  readonly tool: string;
  readonly probe: string[];
  readonly args: (command: string[]) => string[];
}[] = [
  {
    tool: "script",
    probe: ["--version"], // BSD's has none, and other options
    args: (command) => ["-qefc", command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" "), "/dev/null"],
  },
  {
    tool: "python3",
    probe: ["-c", "import pty"],
    args: (command) => [
      "-c",
      "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
      ...command,
    ],
  },
];

const way = WAYS.find(({ tool, probe }) => spawnSync(tool, probe, { stdio: "ignore" }).status === 0);
/** Null: programs can be given a terminal here. */
export const NO_TERMINAL = way === undefined ? "neither util-linux's script nor python3 is here" : null;

/** A program on a terminal of its own, and what it has written there. */
export class TerminalProgram {
  readonly #child: ChildProcessWithoutNullStreams;
  #screen = "";
  #read = 0;

  constructor(command: string[], env: NodeJS.ProcessEnv = {}) {
    if (way === undefined) throw new Error(NO_TERMINAL ?? "");
    this.#child = spawn(way.tool, way.args(command), { env: { ...process.env, TERM: "xterm", ...env } });
    this.#child.stdout.on("data", (chunk: Buffer) => (this.#screen += chunk.toString("utf8")));
  }

  type(text: string): void {
    this.#child.stdin.write(text);
  }

  /** What it writes next, up to this and after what was read before. @throws when it does not come */
  async reads(wanted: string | RegExp): Promise<string> {
    for (const end = Date.now() + 20_000; Date.now() < end; await sleep(20)) {
      const rest = this.#screen.slice(this.#read);
      const found = typeof wanted === "string" ? rest.indexOf(wanted) : rest.search(wanted);
      if (found === -1) continue;
      const length = typeof wanted === "string" ? wanted.length : (wanted.exec(rest)?.[0].length ?? 0);
      this.#read += found + length;
      return rest.slice(0, found + length);
    }
    throw new Error(`no ${String(wanted)} in ${JSON.stringify(this.#screen.slice(this.#read))}`);
  }

  /** Its exit code. */
  async exited(): Promise<number | null> {
    if (this.#child.exitCode === null) await once(this.#child, "exit");
    return this.#child.exitCode;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
