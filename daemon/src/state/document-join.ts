import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, sha256 } from "@vlinder/protocol";
import type { Entry } from "./api.ts";
import { type DocumentPolicy, MOST_BYTES, mergeDocuments } from "./documents/document-merge.ts";
import type { NotMerged } from "./documents/merged-document.ts";
import { requiredBytes, type Source } from "./source.ts";

/** What one merge reads to merge documents, in bytes. */
const MOST_READ = 64 * 1024 * 1024;
/** Smaller documents take too little time to keep others waiting. */
const LONG = 64 * 1024;

export interface JoinedDocument {
  readonly hash: Hash;
  readonly size: number;
  readonly places: readonly string[];
}

/** Merges documents, and remembers what it made: a base that was merged itself is read here again. */
export class DocumentJoiner {
  readonly #source: Source;
  readonly #made = new Map<Hash, Buffer>();

  constructor(source: Source) {
    this.#source = source;
  }

  /** A document that was made here. */
  made(hash: Hash): Buffer | undefined {
    return this.#made.get(hash);
  }

  /** For one merge; its documents come in the order of their keys, so that all machines stop at the same one. */
  begin(): (
    policy: DocumentPolicy,
    base: Entry | null,
    newer: Entry,
    older: Entry,
  ) => Promise<JoinedDocument | NotMerged> {
    let room = MOST_READ;
    return async (policy, base, newer, older) => {
      const sizes = [base?.size ?? 0, newer.size, older.size];
      const sum = sizes.reduce((one, other) => one + other, 0);
      room -= sum;
      if (room < 0 || sizes.some((size) => size > MOST_BYTES)) return { why: "too-large" };
      if ([base, newer, older].some((entry) => entry !== null && this.#isErased(entry.hash))) return { why: "erased" };
      const was = base === null ? null : await this.#read(base);
      const [mine, theirs] = [await this.#read(newer), await this.#read(older)];
      if (sum > LONG) await nextTurn();
      const merged = mergeDocuments(policy, was, mine, theirs);
      if ("why" in merged) return merged;
      const hash = sha256(merged.bytes);
      this.#made.set(hash, merged.bytes);
      return { hash, size: merged.bytes.length, places: merged.places };
    };
  }

  #isErased(hash: Hash): boolean {
    return !this.#made.has(hash) && this.#source.isErased(hash);
  }

  /**
   * Whether a value is here must not decide anything, or machines would merge differently: one that is
   * missing is an error. Only an erase commit may say that it is gone for all.
   */
  async #read({ hash, size }: Entry): Promise<Uint8Array> {
    return this.#made.get(hash) ?? (await requiredBytes(this.#source, hash, size));
  }
}
