import { createHash, type Hash as Sum } from "node:crypto";
import { type ChunkList, decodeChunkList, type Hash, sha256 } from "@vlinder/protocol";
import { type CheckedObjects, isUnreadable } from "./checked-objects.ts";
import { type Flaw, flaw, flawOf } from "./flaw.ts";
import type { Step } from "./pace.ts";

type Part = ChunkList["parts"][number];
/** Chunks that are read together: about 1 MB. */
const TOGETHER = 64;
/** So often along a value the sum so far is kept. */
const MARK_EVERY = 32;
/** Values whose beginnings are remembered, and parts of each at most. */
const REMEMBERED = 16;
const REMEMBERED_PARTS = 8192;

/** How far a value was hashed: its parts, and sums at some of them. */
interface Beginning {
  readonly parts: readonly Part[];
  readonly marks: readonly { readonly at: number; readonly sum: Sum }[];
}

/**
 * Checks values that are stored as chunks, by hashing the whole: that is what the value's name says, and every
 * byte of every chunk has a part in it. Only where it fails is each chunk hashed by itself, to say which one it is. A value that begins
 * with the same chunks as an earlier one (a transcript that grew) is hashed from where they part.
 */
export class LargeValues {
  readonly #objects: CheckedObjects;
  readonly #step: Step;
  /** Lists that were looked at and have flaws. */
  readonly #flawed = new Map<Hash, readonly Flaw[]>();
  /** By the first chunk; the one that was used last is the last. */
  readonly #beginnings = new Map<Hash, Beginning>();

  constructor(objects: CheckedObjects, step: Step) {
    this.#objects = objects;
    this.#step = step;
  }

  /** Values that were looked at. */
  count = 0;

  /** What is wrong with the value of this hash; nothing when it is intact. */
  async flaws(hash: Hash): Promise<readonly Flaw[]> {
    const known = this.#flawed.get(hash);
    if (known !== undefined || this.#objects.isReached("list", hash)) return known ?? [];
    this.count++;
    const flaws: Flaw[] = [];
    const parts = await this.#partsOf(hash, flaws);
    if (parts !== null && !(await this.#isWhole(hash, parts))) {
      for (const chunk of new Set(parts.map((part) => part.hash))) {
        const { standing } = await this.#objects.read("chunk", chunk);
        if (standing !== "good") flaws.push(flawOf("chunk", chunk, standing));
      }
      if (flaws.length === 0) flaws.push(flaw("list", hash, "wrong", "its parts do not give the value"));
    }
    if (flaws.length > 0) this.#flawed.set(hash, flaws);
    return flaws;
  }

  /** The chunks of a list, through the lists below it; null when not all are known. */
  async #partsOf(hash: Hash, flaws: Flaw[]): Promise<readonly Part[] | null> {
    const parts: Part[] = [];
    const top = await this.#list(hash, flaws, true);
    if (top !== null) await this.#below(hash, top, parts, flaws);
    return flaws.length === 0 ? parts : null;
  }

  /** Appends the chunks below a list. Levels only go down, so that this ends whatever is there. */
  async #below(of: Hash, { level, parts }: ChunkList, chunks: Part[], flaws: Flaw[]): Promise<void> {
    if (level === 1) {
      for (const part of parts) chunks.push(part);
      return;
    }
    for (const { hash, size } of parts) {
      const list = await this.#list(hash, flaws, false);
      if (list === null) continue;
      if (list.level !== level - 1) flaws.push(flaw("list", hash, "damaged", "its levels are wrong"));
      // Who reads a range goes by them.
      else if (sizeOf(list) !== size) flaws.push(flaw("list", of, "damaged", "the sizes of its parts are wrong"));
      else await this.#below(hash, list, chunks, flaws);
    }
  }

  async #list(hash: Hash, flaws: Flaw[], isTop: boolean): Promise<ChunkList | null> {
    const { standing, bytes } = await this.#objects.read("list", hash);
    if (bytes === null) {
      flaws.push(flawOf("list", hash, standing));
      return null;
    }
    if (!isTop && sha256(bytes) !== hash) {
      flaws.push(flawOf("list", hash, "damaged"));
      return null;
    }
    try {
      return decodeChunkList(bytes);
    } catch {
      flaws.push(flaw("list", hash, "damaged", "it is no chunk list"));
      return null;
    }
  }

  async #isWhole(hash: Hash, parts: readonly Part[]): Promise<boolean> {
    const { sum, at } = this.#resume(parts);
    const marks: { at: number; sum: Sum }[] = [];
    for (let from = at; from < parts.length; from += TOGETHER) {
      const some = parts.slice(from, from + TOGETHER);
      const chunks = await this.#chunks(some);
      if (chunks === null) return false;
      for (const [i, bytes] of chunks.entries()) {
        if (bytes.length !== some[i]?.size) return false;
        if ((from + i) % MARK_EVERY === 0 && from + i > at) marks.push({ at: from + i, sum: sum.copy() });
        sum.update(bytes);
        this.#objects.bytes += bytes.length;
      }
      await this.#step(some.length);
    }
    if (sum.digest("hex") !== hash) return false;
    for (const part of parts.slice(at)) this.#objects.record("chunk", part.hash, "good");
    this.#remember(parts, at, marks);
    return true;
  }

  async #chunks(parts: readonly Part[]): Promise<Uint8Array[] | null> {
    try {
      const found = await this.#objects.reader.read(
        "chunk",
        parts.map(({ hash }) => hash),
      );
      return found.every((bytes) => bytes !== null) ? found : null;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return null;
    }
  }

  /** The sum over as many of the first parts as an earlier value had, too. */
  #resume(parts: readonly Part[]): { readonly sum: Sum; readonly at: number } {
    const earlier = this.#beginnings.get(parts[0]?.hash as Hash);
    const mark = earlier?.marks.findLast(({ at }) => isSame(earlier.parts, parts, at));
    return mark === undefined ? { sum: createHash("sha256"), at: 0 } : { sum: mark.sum.copy(), at: mark.at };
  }

  #remember(parts: readonly Part[], from: number, marks: Beginning["marks"]): void {
    const first = parts[0]?.hash as Hash;
    const earlier = this.#beginnings.get(first)?.marks.filter(({ at }) => at <= from) ?? [];
    this.#beginnings.delete(first);
    if (parts.length <= REMEMBERED_PARTS) {
      this.#beginnings.set(first, { parts, marks: [...(from > 0 ? earlier : []), ...marks] });
    }
    const oldest = this.#beginnings.keys().next();
    if (this.#beginnings.size > REMEMBERED && oldest.done === false) this.#beginnings.delete(oldest.value);
  }
}

function sizeOf({ parts }: ChunkList): number {
  return parts.reduce((sum, { size }) => sum + size, 0);
}

function isSame(a: readonly Part[], b: readonly Part[], length: number): boolean {
  if (length > b.length) return false;
  for (let i = length - 1; i >= 0; i--) if (a[i]?.hash !== b[i]?.hash || a[i]?.size !== b[i]?.size) return false;
  return true;
}
