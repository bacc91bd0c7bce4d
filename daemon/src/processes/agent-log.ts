import { type FileHandle, open, rename, rm } from "node:fs/promises";
import type { LogItem, LogsReply } from "@vlinder/protocol";
import { readLogPage } from "./log-pages.ts";

/** A file of a log; there are two at most. */
const ROTATE_AT = 8 * 1024 * 1024;

/**
 * What an agent's process wrote and what the daemon did with it: `$VLINDER_HOME/logs/agents/<name>.log`, a line each of
 * time, stream and text, and the part before that as `<name>.log.1`. Writing never fails for the caller: a disk that is
 * full costs lines, not the agent.
 */
export class AgentLog {
  readonly #file: string;
  readonly #rotateAt: number;
  readonly #warn: (error: unknown) => void;
  readonly #waiting = new Set<() => void>();
  /** Writes and reads one after the other: a rotation can't come between the files of one page. */
  #last: Promise<unknown> = Promise.resolve();
  #isWhole = false;
  #hasWarned = false;
  #isClosed = false;

  /** `warn` is called once when lines can't be written, until they can again. */
  constructor(file: string, warn: (error: unknown) => void, rotateAt: number = ROTATE_AT) {
    this.#file = file;
    this.#warn = warn;
    this.#rotateAt = rotateAt;
  }

  /** Resolves with the bytes written, when they are: who waits for it is held to the disk's speed. */
  async write(stream: LogItem["stream"], lines: readonly string[]): Promise<number> {
    if (lines.length === 0) return 0;
    const time = new Date().toISOString();
    const bytes = Buffer.from(lines.map((line) => `${time} ${stream} ${line}\n`).join(""));
    try {
      await this.#inTurn(() => this.#append(bytes));
      this.#hasWarned = false;
    } catch (error) {
      this.#isWhole = false;
      if (!this.#hasWarned) this.#warn(error);
      this.#hasWarned = true;
    }
    for (const wake of this.#waiting) wake();
    return bytes.length;
  }

  /** A page; an empty one that was asked for with a position waits so many milliseconds for lines. */
  async page(request: { lines: number; after?: string | undefined; wait: number }): Promise<Omit<LogsReply, "agent">> {
    const { lines, after, wait } = request;
    const read = () => this.#inTurn(() => readLogPage([`${this.#file}.1`, this.#file], { lines, after }));
    const grown = this.#grown(after === undefined ? 0 : wait);
    try {
      const page = await read();
      if (page.items.length > 0 || wait === 0 || after === undefined) return page;
      await grown.promise;
      return await read();
    } finally {
      grown.cancel();
    }
  }

  /** Deletes what was written. */
  async delete(): Promise<void> {
    await this.#inTurn(async () => {
      for (const file of [this.#file, `${this.#file}.1`]) await rm(file, { force: true });
    });
  }

  /** From now on nobody waits. */
  close(): void {
    this.#isClosed = true;
    for (const wake of this.#waiting) wake();
  }

  #grown(wait: number): { readonly promise: Promise<void>; readonly cancel: () => void } {
    if (wait === 0 || this.#isClosed) return { promise: Promise.resolve(), cancel: () => {} };
    let cancel = (): void => {};
    const promise = new Promise<void>((resolve) => {
      const timer = setTimeout(() => cancel(), wait);
      cancel = () => {
        clearTimeout(timer);
        this.#waiting.delete(cancel);
        resolve();
      };
      this.#waiting.add(cancel);
    });
    return { promise, cancel: () => cancel() };
  }

  /** Opened for each write: a file that somebody moved or deleted is made again. */
  async #append(bytes: Buffer): Promise<void> {
    let file = await open(this.#file, "a+", 0o600);
    try {
      const { size } = await file.stat();
      if (size > 0 && size + bytes.length > this.#rotateAt) {
        await file.close();
        await rename(this.#file, `${this.#file}.1`);
        file = await open(this.#file, "a+", 0o600);
      } else if (!this.#isWhole && size > 0 && !(await endsWithNewline(file, size))) {
        // A crash cut the last line off: the next one must not be its end.
        await file.appendFile("\n");
      }
      await file.appendFile(bytes);
      this.#isWhole = true;
    } finally {
      await file.close();
    }
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined); // the caller has the rejection; the next in turn goes on
    return result;
  }
}

async function endsWithNewline(file: FileHandle, size: number): Promise<boolean> {
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] === 0x0a;
}
