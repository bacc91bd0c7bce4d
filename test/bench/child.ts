import { type ChildProcess, fork } from "node:child_process";

/** A helper program of the bench in a process of its own, so that its work is not on our event loop. */
export class Child {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  /** `file`: from this folder. Resolves when it says that it is ready. */
  static async start(file: string, args: readonly string[], flags: readonly string[] = []): Promise<Child> {
    const process = fork(new URL(file, import.meta.url), args, { execArgv: [...flags] });
    const child = new Child(process);
    await child.next();
    return child;
  }

  /** What it says next. */
  next(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const gone = (code: number | null): void => reject(new Error(`a helper of the bench ended with code ${code}`));
      this.#process.once("exit", gone);
      this.#process.once("message", (message) => {
        this.#process.off("exit", gone);
        resolve(message);
      });
    });
  }

  async ask(message: string | object): Promise<unknown> {
    const answer = this.next();
    this.#process.send(message);
    return await answer;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.#process.once("exit", () => resolve()));
    this.#process.kill("SIGKILL");
    await ended;
  }
}
