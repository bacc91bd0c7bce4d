import type { Kept } from "../../storage/object-storage.ts";
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
  /** Makes it outlive this process as it is now, though it is not stored; null: the storage can't. */
  keep(reply: object, asked: Idempotency | undefined): Kept | null;
}

/** What of a chain is not stored yet is stored beside the turn's work when it is so old. */
const STORE_AFTER_MS = 500;

/** The reply to the turn's beginning, that its id is to get. */
interface BeginReply {
  readonly reply: object;
  readonly asked: Idempotency;
  /** Until it is on its way, the id stands for it all the same. */
  readonly release: () => void;
}

/** When a turn's chain is stored, in one transaction after another: beside the turn's work, and where somebody asks for it. */
export class Storing {
  readonly #chain: Chain;
  readonly #ending: Ending;
  readonly #writer: Pick<Writer, "write" | "hold">;
  /** What is on its way. */
  #now: Promise<void> | null = null;
  /** To be stored with what is stored next; null: it is, or is on its way, or nobody gave an id. */
  #reply: BeginReply | null = null;
  /** Until more than that is stored. */
  #kept: Kept | null = null;
  #isOver = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(chain: Chain, ending: Ending, writer: Pick<Writer, "write" | "hold">) {
    this.#chain = chain;
    this.#ending = ending;
    this.#writer = writer;
  }

  /**
   * Takes note of the beginning, and of the reply that its id gets: where the storage can keep that for its next opening, it is stored with what
   * follows, after half a second, or with the end of the turn; else behind what is answered now. `durably`: the caller stores it, before it answers.
   */
  beginning(reply: object, asked: Idempotency | undefined, durably: boolean): void {
    if (asked !== undefined) this.#hold(reply, asked);
    if (!durably) this.#kept = this.#chain.keep(reply, asked);
    this.soon(this.#kept === null ? 0 : STORE_AFTER_MS);
  }

  /**
   * Stores the chain as it is now; waits for a storing that is under way. Returns the end of what is stored. Of a turn that
   * is being ended it stores nothing: that transaction has all of it, and takes the note away. @throws unavailable
   */
  async flush(): Promise<Head> {
    while (this.#now !== null) await this.#now.catch(() => {});
    let { head } = this.#chain;
    if (this.#chain.isStored || this.#ending.isOn) return head;
    await this.#store((now) => (head = now));
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
  soon(milliseconds = STORE_AFTER_MS): void {
    if (this.#now !== null) return;
    if (milliseconds > 0 && this.#timer !== null) return;
    this.#stopTimer();
    // What the storage refuses stays in memory, and the end of the turn meets it again.
    this.#timer = setTimeout(() => void this.flush().catch(() => {}), milliseconds).unref();
  }

  /** The turn is being ended: nothing more of it is stored behind that. */
  close(): void {
    this.#stopTimer();
  }

  /** Stores the reply to the beginning, in one transaction with what was asked of the writer just now. @throws unavailable */
  async answered(): Promise<void> {
    const first = this.#reply;
    if (first === null) return;
    this.#reply = null;
    first.release();
    try {
      await this.#writer.write(() => first.reply, first.asked);
    } catch (error) {
      if (this.#reply === null && !this.#isOver) this.#hold(first.reply, first.asked);
      throw error;
    }
  }

  /** It has ended, or has not begun. */
  finish(): void {
    this.#isOver = true;
    this.#stopTimer();
    this.#drop();
    this.#reply?.release();
    this.#reply = null;
  }

  #store(took: (head: Head) => void): Promise<void> {
    this.#stopTimer();
    let taken: Taken | null = null;
    const stored = this.#writer.write((draft) => {
      took(this.#chain.head);
      taken = this.#chain.store(draft);
    });
    const answered = this.answered();
    answered.catch(() => {});
    this.#now = stored
      .then(() => {
        if (taken !== null) this.#chain.stored(taken);
        this.#drop();
        return answered;
      })
      .finally(() => {
        this.#now = null;
      });
    return this.#now;
  }

  #hold(reply: object, asked: Idempotency): void {
    this.#reply = { reply, asked, release: this.#writer.hold(asked, reply) };
  }

  #drop(): void {
    this.#kept?.drop();
    this.#kept = null;
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
