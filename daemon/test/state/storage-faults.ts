import { VlinderError } from "@vlinder/protocol";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { Transaction } from "../../src/storage/object-storage.ts";

/** Memory storage whose transactions a test can refuse, hold back and count. */
export class FaultyObjects extends MemoryObjects {
  /** Transactions that were asked for so far. */
  applies = 0;
  /** Faults that happened. */
  fired = 0;
  /** Decides by the number of the transaction, from 1. */
  fails: (apply: number, transaction: Transaction) => boolean = () => false;
  #gate: Promise<void> | null = null;
  #open: () => void = () => {};

  constructor() {
    super("memory://faulty");
  }

  /** From now on no transaction goes through, until `release`. */
  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  release(): void {
    this.#gate = null;
    this.#open();
  }

  override async apply(transaction: Transaction): Promise<void> {
    this.applies++;
    const failing = this.fails(this.applies, transaction);
    // Held back or not, a transaction takes a turn of the event loop, as a disk does.
    await (this.#gate ?? new Promise((resolve) => setImmediate(resolve)));
    if (failing) {
      this.fired++;
      throw new VlinderError("unavailable", "the disk is full", { remedy: "make room" });
    }
    await super.apply(transaction);
  }
}
