import { VlinderError } from "@vlinder/protocol";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { andThen } from "../and-then.ts";

/** What a put takes besides its values: a commit, and its part of a tree. */
const BESIDES = 1024;
/** A measurement is good for so long, in milliseconds, or until so much of what was left is written. */
const FRESH = 1000;
const PART = 1 / 16;

/** A put that may be admitted. */
export interface AdmittedPut {
  /** Lets it through, at once where nothing has to be measured. @throws quota_exceeded */
  admit(): void | Promise<void>;
  /** It is stored, or failed. */
  end(): void;
}

/**
 * An agent's limit on storage. Puts over it are refused; reads, deletes and whatever frees space are
 * not asked. Measuring is a look at the files' sizes, and at what is on its way to them; between
 * measurements what is put is added up.
 */
export class Quota {
  readonly #storage: ObjectStorage;
  readonly #limit: () => number | null;
  readonly #unstored: () => number;
  #measured: { readonly bytes: number; readonly at: number; readonly admitted: number } | null = null;
  /** All that was ever let through. */
  #admitted = 0;
  /** Of puts that are under way. */
  #writing = 0;

  /** @param unstored bytes of uploads that were let through and are in no file yet */
  constructor(storage: ObjectStorage, limit: () => number | null, unstored: () => number) {
    this.#storage = storage;
    this.#limit = limit;
    this.#unstored = unstored;
  }

  get limit(): number | null {
    return this.#limit();
  }

  /** Until it ends, a put counts beside what the files have. Null: there is no limit. */
  begin(values: () => number): AdmittedPut | null {
    if (this.#limit() === null) return null;
    let held = 0;
    const hold = (bytes: number): void => {
      this.#writing += bytes - held;
      held = bytes;
    };
    return {
      admit: () => {
        const bytes = values();
        // Computed once more, it is not there twice.
        hold(0);
        return andThen(
          this.admit(() => bytes),
          () => hold(bytes),
        );
      },
      end: () => hold(0),
    };
  }

  /** Lets so many bytes through, at once where nothing has to be measured. @throws quota_exceeded */
  admit(values: () => number): void | Promise<void> {
    const limit = this.#limit();
    if (limit === null) return;
    const bytes = values() + BESIDES;
    if (this.#measured !== null && this.#isGood(this.#measured, bytes, limit)) {
      this.#admitted += bytes;
      return;
    }
    return this.#measure(bytes, limit);
  }

  async #measure(bytes: number, limit: number): Promise<void> {
    const [at, admitted, unstored] = [performance.now(), this.#admitted, this.#unstored() + this.#writing];
    const measured = { bytes: unstored + (await this.#storage.usage()).bytes, at, admitted };
    this.#measured = measured;
    // Others may have been let through meanwhile.
    const used = measured.bytes + (this.#admitted - admitted) + bytes;
    if (used > limit) throw exceeded(used, limit);
    this.#admitted += bytes;
  }

  /** Space was given back: the next put measures again. */
  forget(): void {
    this.#measured = null;
  }

  #isGood(measured: { bytes: number; at: number; admitted: number }, bytes: number, limit: number): boolean {
    const isFresh = performance.now() - measured.at < FRESH;
    const room = limit - measured.bytes;
    const after = this.#admitted - measured.admitted + bytes;
    // A refusal must rest on what is so now.
    if (after > room) return false;
    return isFresh || after < room * PART;
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
