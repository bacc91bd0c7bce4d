import { VlinderError } from "@vlinder/protocol";
import type { ObjectStorage } from "../../storage/object-storage.ts";

/** What a put takes besides its values: a commit, and its part of a tree. */
const BESIDES = 1024;
/** A measurement is good for so long, in milliseconds, or until so much of what was left is written. */
const FRESH = 1000;
const PART = 1 / 16;

/**
 * An agent's limit on storage. Puts over it are refused; reads, deletes and whatever frees space are
 * not asked. Measuring is a look at the files' sizes; between measurements what is put is added up.
 */
export class Quota {
  readonly #storage: ObjectStorage;
  readonly #limit: () => number | null;
  #measured: { readonly bytes: number; readonly at: number } | null = null;
  #since = 0;

  constructor(storage: ObjectStorage, limit: () => number | null) {
    this.#storage = storage;
    this.#limit = limit;
  }

  get limit(): number | null {
    return this.#limit();
  }

  /** Lets a put of so many bytes through, at once where nothing has to be measured. @throws quota_exceeded */
  admit(values: () => number): void | Promise<void> {
    const limit = this.#limit();
    if (limit === null) return;
    const bytes = values() + BESIDES;
    if (this.#measured !== null && this.#isGood(this.#measured, bytes, limit)) {
      this.#since += bytes;
      return;
    }
    return this.#measure(bytes, limit);
  }

  async #measure(bytes: number, limit: number): Promise<void> {
    const measured = { bytes: (await this.#storage.usage()).bytes, at: performance.now() };
    this.#measured = measured;
    this.#since = 0;
    const used = measured.bytes + bytes;
    if (used > limit) throw exceeded(used, limit);
    this.#since += bytes;
  }

  /** Space was given back: the next put measures again. */
  forget(): void {
    this.#measured = null;
  }

  #isGood(measured: { readonly bytes: number; readonly at: number }, bytes: number, limit: number): boolean {
    const isFresh = performance.now() - measured.at < FRESH;
    const room = limit - measured.bytes;
    // A refusal must rest on what is so now.
    if (this.#since + bytes > room) return false;
    return isFresh || this.#since + bytes < room * PART;
  }
}

function exceeded(used: number, limit: number): VlinderError {
  return new VlinderError("quota_exceeded", `the agent's storage would have ${used} bytes; its limit is ${limit}`, {
    details: { used, limit },
    remedy:
      "free space with `vlinder gc AGENT` ([retention] in agent.toml says what may go), or raise [limits] storage in " +
      "agent.toml; reads and deletes still work",
  });
}
