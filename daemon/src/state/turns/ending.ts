import { VlinderError } from "@vlinder/protocol";

/** Whether something is ending a turn, or has. */
export class Ending {
  readonly #turn: string;
  #now: { readonly how: string; readonly by: string | undefined; readonly over: PromiseWithResolvers<void> } | null =
    null;
  #isOver = false;

  constructor(turn: string) {
    this.#turn = turn;
  }

  /** Something is ending it, or has. */
  get isOn(): boolean {
    return this.#now !== null;
  }

  /** It has ended, and all of it is stored. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** @throws conflict */
  check(): void {
    if (this.#now === null) return;
    throw new VlinderError("conflict", `the turn "${this.#turn}" is being ended: ${this.#now.how}`, {
      details: { turn: this.#turn },
      remedy: "begin another turn",
    });
  }

  /** The same `by` may begin it twice; whether this was the first time. @throws conflict, when something else is ending it */
  begin(how: string, by?: string): boolean {
    if (by === undefined || this.#now?.by !== by) this.check();
    const isFirst = this.#now === null;
    this.#now ??= { how, by, over: Promise.withResolvers() };
    return isFirst;
  }

  /** The turn goes on. */
  reopen(): void {
    this.#now?.over.resolve();
    this.#now = null;
  }

  finish(): void {
    this.#isOver = true;
    this.#now?.over.resolve();
  }

  /** Waits while something is ending it. Whether the turn goes on. */
  async goesOn(): Promise<boolean> {
    while (this.#now !== null && !this.#isOver) await this.#now.over.promise;
    return !this.#isOver;
  }
}
