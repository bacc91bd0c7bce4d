import { type Changes, type Commit, type Hash, hashFromBytes } from "@vlinder/protocol";
import { timeOf } from "../ancestry.ts";
import { Ring } from "../ring.ts";
import { keyNumber } from "./segment.ts";

/** What a segment takes from a commit. */
export interface Step {
  readonly parents: readonly Hash[];
  /** One parent, and all that it changed is listed. */
  readonly isPlain: boolean;
  readonly time: string;
  /** `keyNumber` of each. */
  readonly keys: readonly number[];
}

export function stepOf(commit: Commit, { kv = [] }: Changes): Step {
  const { parents, adopts } = commit;
  const isPlain = parents.length === 1 && adopts === undefined;
  return { parents, isPlain, time: timeOf(commit), keys: isPlain ? kv.map(([key]) => keyNumber(key)) : [] };
}

/** All agents of the process share 1 MB, and up to 4 where that is of use: some 32,000 steps of one key. */
const ring = new Ring("hex", 1, 4);
let owners = 0;

/*
 * A step: u8 whether it is plain, u8 number of parents, the time (24 bytes; zeros: none), the parents, the keys
 * as u32, little-endian.
 */
const TIME = 2;
const PARENTS = TIME + 24;
const HASH = 32;
/** More would not fit in the ring. */
const MOST_KEYS = 10_000;

/**
 * Steps of commits that were just stored, as bytes in a ring: as objects they took up to 12 MB of
 * each agent (decision 0130).
 */
export class FreshSteps {
  readonly #owner = ++owners;

  set(hash: Hash, { parents, isPlain, time, keys }: Step): void {
    if (keys.length > MOST_KEYS || parents.length > 0xff) return;
    const bytes = Buffer.alloc(PARENTS + HASH * parents.length + 4 * keys.length);
    bytes[0] = isPlain ? 1 : 0;
    bytes[1] = parents.length;
    bytes.write(time, TIME, PARENTS - TIME, "latin1");
    let at = PARENTS;
    for (const parent of parents) at += bytes.write(parent, at, HASH, "hex");
    for (const key of keys) at = bytes.writeUInt32LE(key, at);
    ring.add(this.#owner, hash, bytes);
  }

  get(hash: Hash): Step | undefined {
    const bytes = ring.get(this.#owner, hash);
    if (bytes === undefined) return undefined;
    const count = bytes[1] as number;
    const parents = Array.from({ length: count }, (_, i) => hashFromBytes(bytes, PARENTS + HASH * i));
    const start = PARENTS + HASH * count;
    const keys = Array.from({ length: (bytes.length - start) / 4 }, (_, i) => bytes.readUInt32LE(start + 4 * i));
    const time = bytes[TIME] === 0 ? "" : bytes.toString("latin1", TIME, PARENTS);
    return { parents, isPlain: bytes[0] === 1, time, keys };
  }

  /** It is in a segment that is stored. */
  yield(hash: Hash): void {
    ring.yield(this.#owner, hash);
  }

  has(hash: Hash): boolean {
    return ring.has(this.#owner, hash);
  }

  delete(hash: Hash): void {
    ring.delete(this.#owner, hash);
  }
}
