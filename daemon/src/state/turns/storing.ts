import type { Idempotency } from "../batch.ts";
import type { Draft } from "../draft.ts";
import type { Head } from "../head.ts";
import type { Writer } from "../writer.ts";
import type { Ending } from "./ending.ts";
import type { Taken } from "./unstored.ts";

/** A turn's chain, as far as it is stored while the turn goes on. */
export interface Chain {
  readonly head: Head;
  readonly isStored: boolean;
  /** Puts what is not stored of it, and the note that leads to it, into a transaction. */
  store(draft: Draft): Taken;
  /** So much of it is durable. */
  stored(taken: Taken): void;
}

/** When a turn's chain is stored, in one transaction after another: beside the turn's work, and where somebody asks for it. */
export class Storing {
  readonly #chain: Chain;
  readonly #ending: Ending;
  readonly #writer: Pick<Writer, "write">;
  /** What is on its way. */
  #now: Promise<void> | null = null;
  /** Stores the beginning at once; null: that is on its way, or done. */
  #begin: (() => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(chain: Chain, ending: Ending, writer: Pick<Writer, "write">) {
    this.#chain = chain;
    this.#ending = ending;
    this.#writer = writer;
  }

  /**
   * Stores the beginning, with the reply that its id gets: behind what is answered now, since nobody waits for it, and before
   * anything else of the turn. @throws unavailable
   */
  beginning(reply: object, asked: Idempotency | undefined): Promise<void> {
    return new Promise((resolve) => {
      const soon = setImmediate(() => this.#begin?.());
      this.#begin = (): void => {
        clearImmediate(soon);
        this.#begin = null;
        resolve(this.#store(() => reply, asked));
      };
    });
  }

  /**
   * Stores the chain as it is now; waits for a storing that is under way. Returns the end of what is stored. Of a turn that
   * is being ended it stores nothing: that transaction has all of it, and takes the note away. @throws unavailable
   */
  async flush(): Promise<Head> {
    this.#begin?.();
    while (this.#now !== null) await this.#now.catch(() => {});
    let { head } = this.#chain;
    if (this.#chain.isStored || this.#ending.isOn) return head;
    await this.#store(() => (head = this.#chain.head));
    return head;
  }

  /** All that was recorded is stored when it resolves: now, or by what ends the turn. @throws unavailable */
  async durable(): Promise<void> {
    for (;;) {
      if (this.#now !== null) await this.#now.catch(() => {});
      else if (!this.#ending.isOn) return void (await this.flush());
      else if (!(await this.#ending.goesOn())) return;
    }
  }

  /** Within so many milliseconds, unless something is on its way. */
  soon(milliseconds: number): void {
    if (this.#now !== null || this.#begin !== null) return;
    if (milliseconds > 0 && this.#timer !== null) return;
    this.#stopTimer();
    // What the storage refuses stays in memory, and the end of the turn meets it again.
    this.#timer = setTimeout(() => void this.flush().catch(() => {}), milliseconds).unref();
  }

  /** The turn is being ended: nothing more of it is stored behind that. */
  close(): void {
    this.#begin?.();
    this.#stopTimer();
  }

  /** @param reply called as it is computed */
  #store(reply: () => object, asked?: Idempotency): Promise<void> {
    this.#stopTimer();
    let taken: Taken | null = null;
    const work = (draft: Draft): object => {
      taken = this.#chain.store(draft);
      return reply();
    };
    this.#now = this.#writer
      .write(work, asked)
      .then(() => {
        if (taken !== null) this.#chain.stored(taken);
      })
      .finally(() => {
        this.#now = null;
      });
    return this.#now;
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
