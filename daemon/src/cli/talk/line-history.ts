import { appendFile, chmod, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { AgentName } from "@vlinder/protocol";
import { writeFileAtomic } from "../../registry/atomic-file.ts";
import { homePath } from "../../registry/home.ts";

/** Lines that are kept of an agent, and the longest that is kept. */
export const HISTORY = { lines: 1000, characters: 4000 } as const;

/** Control characters would steer the terminal when the line is shown again; a tab is text. */
const STEERS = /[^\P{Cc}\t]/u;

/** What was typed to an agent, over sessions: a file in the home that only its owner reads, one line an entry. */
export class LineHistory {
  readonly #path: string;
  readonly #lines: string[];
  #writing: Promise<void> = Promise.resolve();
  #problem: Error | null = null;

  private constructor(path: string, lines: string[]) {
    this.#path = path;
    this.#lines = lines;
  }

  /** What can't be read is as if nothing had been typed. */
  static async open(agent: AgentName, home: string = homePath()): Promise<LineHistory> {
    const path = historyPath(agent, home);
    let lines: string[] = [];
    try {
      lines = (await readFile(path, "utf8")).split("\n").filter(isKept);
      await chmod(path, 0o600);
      // Several terminals append to it; who opens it later cuts it.
      if (lines.length > 2 * HISTORY.lines) await writeFileAtomic(path, `${lines.slice(-HISTORY.lines).join("\n")}\n`);
    } catch (error) {
      const history = new LineHistory(path, lines);
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") history.#problem = error as Error;
      return history;
    }
    return new LineHistory(path, lines.slice(-HISTORY.lines));
  }

  /** Newest first. */
  get lines(): string[] {
    return this.#lines.toReversed();
  }

  add(line: string): void {
    if (!isKept(line) || this.#lines.at(-1) === line) return;
    this.#lines.push(line);
    this.#writing = this.#writing.then(async () => {
      try {
        await mkdir(join(this.#path, ".."), { recursive: true, mode: 0o700 });
        await appendFile(this.#path, `${line}\n`, { mode: 0o600 });
      } catch (error) {
        this.#problem ??= error as Error;
      }
    });
  }

  /** Waits until it is written. Returns why something of it could not be read or kept; null: all was. */
  async close(): Promise<string | null> {
    await this.#writing;
    return this.#problem === null ? null : `${this.#path}: ${this.#problem.message}`;
  }
}

/** Of an agent whose data is deleted. */
export async function dropHistory(agent: AgentName, home: string = homePath()): Promise<void> {
  await rm(historyPath(agent, home), { force: true });
}

function historyPath(agent: AgentName, home: string): string {
  return join(home, "history", agent);
}

function isKept(line: string): boolean {
  return line.trim() !== "" && line.length <= HISTORY.characters && !STEERS.test(line);
}
