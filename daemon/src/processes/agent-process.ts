import { asVlinderError, type ProcessItem, type VlinderError } from "@vlinder/protocol";
import { Backoff } from "./backoff.ts";
import type { Exit, Run } from "./run.ts";

export interface AgentProcessSetup {
  /** Starts it. @throws VlinderError, when it can't be */
  readonly launch: () => Promise<Run>;
  /** Tells who reads the agent's log what happens; `isTrouble`: nobody asked for it. */
  readonly note: (text: string, isTrouble: boolean) => Promise<unknown>;
  /** It ran, and is gone: what it had begun it will not end. */
  readonly gone?: (how: string) => void;
}

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };

/**
 * Keeps one agent's process running: started, started again when it ends (also with code 0: a server is meant to stay),
 * later each time it fails soon. One that can't be started at all is tried the same way, so that what was missing need
 * only come back.
 */
export class AgentProcess {
  readonly #setup: AgentProcessSetup;
  readonly #backoff = new Backoff();
  readonly #report: Mutable<ProcessItem> = {
    state: "waiting",
    pid: null,
    since: new Date().toISOString(),
    next: null,
    restarts: 0,
    lastExit: null,
    error: null,
  };
  readonly #supervision: Promise<void>;
  #run: Run | null = null;
  #starts = 0;
  #isStopping = false;
  /** The running one is ended only to be started again. */
  #isRestarting = false;
  /** The next start is not to wait. */
  #isUrgent = false;
  #wake: () => void = () => {};
  #attempted: (() => void)[] = [];

  constructor(setup: AgentProcessSetup) {
    this.#setup = setup;
    this.#supervision = this.#supervise();
  }

  get report(): ProcessItem {
    return { ...this.#report };
  }

  get isRunning(): boolean {
    return this.#run !== null;
  }

  /** If it waits to be started, starts it now. Resolves when it runs, or when that has failed. */
  async ready(): Promise<boolean> {
    if (!this.isRunning && !this.#isStopping) {
      const attempted = this.#nextAttempt();
      this.#hurry();
      await attempted;
    }
    return this.isRunning;
  }

  /** Ends what runs and starts it anew, with no delay. Resolves when it runs, or when that has failed. */
  async restart(): Promise<void> {
    this.#backoff.reset();
    const run = this.#run;
    if (run === null) {
      await this.ready();
      return;
    }
    this.#isRestarting = true;
    const attempted = this.#nextAttempt();
    await run.end();
    await attempted;
  }

  /** Resolves when nothing of it is left. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#wake();
    await this.#run?.end();
    await this.#supervision;
  }

  /** For the daemon's own end without warning. */
  abandon(): void {
    this.#run?.abandon();
  }

  async #supervise(): Promise<void> {
    while (!this.#isStopping) {
      const { ran, what } = await this.#once();
      if (this.#isStopping) break;
      const delay = this.#isRestarting ? 0 : this.#backoff.after(ran);
      this.#isRestarting = false;
      this.#report.next = new Date(Date.now() + delay).toISOString();
      if (delay > 0) await this.#setup.note(`${what}; started again in ${delay / 1000} s`, true);
      else await this.#setup.note(what, false);
      await this.#pause(delay);
    }
    this.#become("stopped");
    this.#settle();
  }

  /** From a start to the end: how long it ran, in milliseconds, and what is to be said of it. */
  async #once(): Promise<{ readonly ran: number; readonly what: string }> {
    const { launch, note } = this.#setup;
    let run: Run;
    try {
      run = await launch();
    } catch (thrown) {
      const error = asVlinderError(thrown);
      this.#become("failed", { error: error.toBody() });
      this.#settle();
      return { ran: 0, what: complaint(error) };
    }
    const began = performance.now();
    this.#run = run;
    this.#report.restarts = this.#starts++;
    this.#become("running", { pid: run.pid });
    this.#settle();
    await note(`started, pid ${run.pid}`, false);
    // It was told to stop while it started.
    if (this.#isStopping) await run.end();
    const exit = await run.over;
    this.#run = null;
    this.#report.lastExit = { ...exit, time: new Date().toISOString() };
    this.#become("waiting");
    this.#setup.gone?.(exitText(exit));
    const wanted = this.#isStopping || this.#isRestarting;
    const meantToStay = !wanted && exit.code === 0 ? ", though an agent is meant to stay" : "";
    const what = `${wanted ? "stopped, " : ""}${exitText(exit)}${meantToStay}`;
    if (this.#isStopping) await note(what, false);
    return { ran: performance.now() - began, what };
  }

  #become(state: ProcessItem["state"], also: Partial<ProcessItem> = {}): void {
    Object.assign(this.#report, { state, since: new Date().toISOString(), pid: null, next: null, error: null }, also);
  }

  async #pause(delay: number): Promise<void> {
    if (delay === 0 || this.#isUrgent || this.#isStopping) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }

  #hurry(): void {
    this.#isUrgent = true;
    this.#wake();
  }

  #nextAttempt(): Promise<void> {
    return new Promise((resolve) => void this.#attempted.push(resolve));
  }

  #settle(): void {
    this.#isUrgent = false;
    for (const resolve of this.#attempted.splice(0)) resolve();
  }
}

function exitText({ code, signal }: Exit): string {
  return signal === null ? `exited with code ${code}` : `ended by ${signal}`;
}

function complaint({ message, remedy }: VlinderError): string {
  return `could not be started: ${message}${remedy === undefined ? "" : `; what to do: ${remedy}`}`;
}
