import {
  decodeTreeNode,
  encodeTreeNode,
  type Hash,
  type Key,
  LIMITS,
  ownBuffer,
  type TreeNode,
  type TreeVersion,
  uvarintLength,
  writeUvarint,
} from "@vlinder/protocol";
import { Lineage } from "../../storage/object-storage.ts";
import { HASH_BYTES, Spot } from "./spot.ts";

const ALL = -1;
/** Counts collections: what a stored version has is known to be stored only since the last one. */
let collections = 0;

/** Bytes of the shortest entry: two lengths, a hash and a size. */
const ENTRY_LEAST = 2 + HASH_BYTES + 1;
/** Of a size or a count, which are below 2^53. */
const NUMBER_MOST = 8;

/** For one key at a time. */
const scratch = new Uint8Array(LIMITS.keyBytes);

/** The keys of a node, and where their hashes begin. */
export interface Layout {
  readonly keys: readonly Key[];
  readonly places: readonly number[];
}

/** `count`: as a node has it. */
interface NewEntry {
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
  readonly count: number;
}

/**
 * A node as its bytes. Keys, hashes, sizes and counts are read where they are asked for: a step down a tree looks at a few bytes
 * of each entry, and needs one hash. A new version with another hash and size in one entry is a copy with these
 * bytes changed: so an overwrite costs a copy and a hash for each level, nothing is decoded or encoded, and a node that is
 * kept is hardly more than its bytes, and an inner one the hashes of the children that were gone to.
 *
 * For bytes that are known to be canonical: their hash is one that we computed ourselves. `decodeTreeNode` is for others.
 */
export class PackedNode {
  readonly level: number;
  /** How many entries it has. */
  readonly count: number;
  #bytes: Buffer;
  /** Shared by all that edits make of it. */
  readonly lineage: Lineage;
  /** Entries that the stored version it was made from does not have so, a bit each; with more than 31 entries -1 says "any". */
  #changed: number;
  /** Since which collection that version is known to be stored. */
  #since: number;
  /** Of an inner node, children that were gone to: a text that is made anew is hashed anew, too, where it is looked up. */
  #known: (Hash | undefined)[] | null = null;

  private constructor(bytes: Buffer, count: number, lineage: Lineage, changed: number, since = collections) {
    this.#bytes = bytes;
    this.level = bytes[1] as number;
    this.count = count;
    this.lineage = lineage;
    this.#changed = changed;
    this.#since = since;
  }

  /**
   * Stored nodes may go from now on. Of one that another branch stored from the same layer, the nodes below may go with that
   * branch: whoever stores a tree looks at all that its own layers have of it.
   */
  static collecting(): void {
    collections++;
  }

  static of(node: TreeNode): PackedNode {
    return PackedNode.#fresh(encodeTreeNode(node), node.keys.length);
  }

  static #fresh(bytes: Buffer, count: number): PackedNode {
    return new PackedNode(bytes, count, new Lineage(null), ALL);
  }

  /** @throws RangeError, when entries can't be told apart in the bytes; invalid: of a newer format */
  static read(bytes: Buffer, lineage: Lineage): PackedNode {
    // Of a newer format: this says so.
    if (bytes[0] !== 1 && bytes[0] !== 2) decodeTreeNode(bytes);
    const count = varintAt(bytes, 2);
    if (!(count > 0 && count <= bytes.length / ENTRY_LEAST)) throw new RangeError("bytes are no node");
    const spot = new Spot(bytes, count);
    const numbers = bytes[1] === 0 ? NUMBER_MOST : 2 * NUMBER_MOST;
    while (spot.next()) {
      const { common, rest, hash, end } = spot;
      // Behind the end there are no numbers to read, and no comparison holds.
      const isEntry = common <= LIMITS.keyBytes && hash - rest <= LIMITS.keyBytes && end - hash <= HASH_BYTES + numbers;
      if (!(isEntry && end <= bytes.length)) throw new RangeError("a node is cut short");
    }
    if (spot.end !== bytes.length) throw new RangeError("bytes are no node");
    return new PackedNode(bytes, count, lineage, lineage.stored === null ? ALL : 0);
  }

  get version(): TreeVersion {
    return this.#bytes[0] as TreeVersion;
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  /**
   * It is about to be stored, so it may stay in memory for long: as a part of a pool of Buffers it would keep the pool, of
   * which nothing else is needed.
   */
  settle(): this {
    this.#bytes = ownBuffer(this.#bytes);
    return this;
  }

  /** It is stored, and durable, with all below it. */
  stored(hash: Hash): void {
    this.lineage.stored = hash;
    this.#changed = 0;
    this.#since = collections;
  }

  /** The first entry with a key of at least this one; null: there is none. */
  seek(key: Key): Spot | null {
    const bytes = this.#bytes;
    const { length } = key;
    // So much of the key is in the entry before, which is less.
    let matched = 0;
    for (const spot = this.start(); spot.next();) {
      // With more in common with that one than the key has, it is less too; with less, it is greater.
      if (spot.common > matched) continue;
      if (spot.common < matched) return spot;
      const end = spot.hash;
      let at = spot.rest;
      while (at < end && matched < length && bytes[at] === key.charCodeAt(matched)) {
        at++;
        matched++;
      }
      if (matched === length) {
        spot.isExact = at === end;
        return spot;
      }
      if (at < end && (bytes[at] as number) > key.charCodeAt(matched)) return spot;
    }
    return null;
  }

  /** In front of the first entry. */
  start(): Spot {
    return new Spot(this.#bytes, this.count);
  }

  /** At the last entry. */
  last(): Spot {
    const spot = this.start();
    while (spot.index < this.count - 1) spot.next();
    return spot;
  }

  hashAt({ index, hash: at }: Spot): Hash {
    return this.#known?.[index] ?? (this.#bytes.toString("hex", at, at + HASH_BYTES) as Hash);
  }

  /** The hash of a child to go to: it is remembered, as others will go there. */
  childAt(spot: Spot): Hash {
    const hash = this.hashAt(spot);
    (this.#known ??= new Array<undefined>(this.count).fill(undefined))[spot.index] = hash;
    return hash;
  }

  sizeAt({ hash }: Spot): number {
    return varintAt(this.#bytes, hash + HASH_BYTES);
  }

  countAt({ hash }: Spot): number {
    if (this.level === 0) return 1;
    const at = hash + HASH_BYTES;
    return varintAt(this.#bytes, at + uvarintLength(varintAt(this.#bytes, at)));
  }

  /** Hashes of the children that may have nodes, or be such, that are not stored. */
  changedChildren(): Hash[] {
    const hashes: Hash[] = [];
    if (this.level === 0) return hashes;
    const any = this.#changed === ALL || this.#since !== collections;
    for (const spot = this.start(); spot.next();) {
      if (any || (spot.index < 31 && (this.#changed & (1 << spot.index)) !== 0)) hashes.push(this.hashAt(spot));
    }
    return hashes;
  }

  /** Made anew each time. */
  layout(): Layout {
    const keys: Key[] = [];
    const places: number[] = [];
    const text = this.#bytes.toString("latin1");
    let key = "";
    for (const spot = this.start(); spot.next();) {
      const rest = text.slice(spot.rest, spot.hash);
      key = spot.common === 0 ? rest : key.slice(0, spot.common) + rest;
      keys.push(key as Key);
      places.push(spot.hash);
    }
    return { keys, places };
  }

  /** All of it, made anew each time. */
  unpacked(): TreeNode {
    const { level, version } = this;
    const { keys } = this.layout();
    const hashes: Hash[] = [];
    const sizes: number[] = [];
    const counts: number[] = [];
    for (const spot = this.start(); spot.next();) {
      hashes.push(this.hashAt(spot));
      sizes.push(this.sizeAt(spot));
      if (level > 0) counts.push(this.countAt(spot));
    }
    return { version, level, keys, hashes, sizes, counts };
  }

  /** The same node with another hash in one entry, and so much more in size and count. */
  with(spot: Spot, hash: Hash, moreSize: number, moreCount: number): PackedNode {
    const { level } = this;
    const bytes = this.#bytes;
    const { index, end } = spot;
    const at = spot.hash + HASH_BYTES;
    let copy: Buffer;
    if (moreSize === 0 && moreCount === 0) {
      copy = Buffer.allocUnsafe(bytes.length);
      copy.set(bytes);
    } else {
      const [size, count] = [this.sizeAt(spot) + moreSize, this.countAt(spot) + moreCount];
      const newEnd = at + uvarintLength(size) + (level === 0 ? 0 : uvarintLength(count));
      copy = Buffer.allocUnsafe(bytes.length + newEnd - end);
      bytes.copy(copy, 0, 0, at);
      bytes.copy(copy, newEnd, end);
      const behind = writeUvarint(copy, at, size);
      if (level > 0) writeUvarint(copy, behind, count);
    }
    copy.write(hash, spot.hash, HASH_BYTES, "hex");
    const changed = index < 31 ? this.#changed | (1 << index) : ALL;
    const next = new PackedNode(copy, this.count, this.lineage, changed, this.#since);
    // This one is hardly asked again.
    const known = this.#known;
    if (known !== null) {
      known[index] = hash;
      next.#known = known;
      this.#known = null;
    }
    return next;
  }

  /** The same node with an entry more, or less, or with another one, at its place in order: what is in front of it and behind the next one is copied. */
  spliced(index: number, gone: 0 | 1, added: NewEntry | null): PackedNode {
    const bytes = this.#bytes;
    const count = this.count - gone + (added === null ? 0 : 1);
    const spot = this.start();
    const first = spot.end;
    let length = 0;
    while (spot.index < index - 1 && spot.next()) length = spot.keyInto(scratch);
    const kept = spot.end;
    const addedShares = added === null ? 0 : sharedWith(added.key, length);
    // The entry behind is written anew, as it has another one in front.
    let nextShares = Number.POSITIVE_INFINITY;
    let hasNext = true;
    for (let i = 0; i <= gone; i++) {
      hasNext = spot.next();
      if (!hasNext) break;
      length = spot.keyInto(scratch);
      // What the outer two of three keys in order have in common, each has with the one between.
      nextShares = Math.min(nextShares, spot.common);
    }
    if (hasNext && added !== null) nextShares = sharedWith(added.key, length);
    const behind = hasNext ? spot.hash : bytes.length;
    const from = 2 + uvarintLength(count);
    let room = from + (kept - first) + (bytes.length - behind);
    if (added !== null) {
      room += keyLength(added.key.length, addedShares) + HASH_BYTES + uvarintLength(added.size);
      if (this.level > 0) room += uvarintLength(added.count);
    }
    if (hasNext) room += keyLength(length, nextShares);
    const copy = Buffer.allocUnsafe(room);
    copy[0] = bytes[0] as number;
    copy[1] = bytes[1] as number;
    writeUvarint(copy, 2, count);
    let at = from + bytes.copy(copy, from, first, kept);
    if (added !== null) {
      at = writeLengths(copy, at, added.key.length, addedShares);
      for (let i = addedShares; i < added.key.length; i++) copy[at++] = added.key.charCodeAt(i);
      at += copy.write(added.hash, at, HASH_BYTES, "hex");
      at = writeUvarint(copy, at, added.size);
      if (this.level > 0) at = writeUvarint(copy, at, added.count);
    }
    if (hasNext) {
      at = writeLengths(copy, at, length, nextShares);
      for (let i = nextShares; i < length; i++) copy[at++] = scratch[i] as number;
    }
    bytes.copy(copy, at, behind);
    return PackedNode.#fresh(copy, count);
  }
}

function varintAt(bytes: Buffer, at: number): number {
  let byte = bytes[at] as number;
  if (byte < 0x80) return byte;
  let value = byte & 0x7f;
  for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
    byte = bytes[++at] as number;
    value += (byte & 0x7f) * scale;
  }
  return value;
}

/** How many characters a key begins like the one in `scratch`. */
function sharedWith(key: Key, length: number): number {
  const end = Math.min(key.length, length);
  let i = 0;
  while (i < end && key.charCodeAt(i) === scratch[i]) i++;
  return i;
}

function keyLength(length: number, common: number): number {
  return uvarintLength(common) + uvarintLength(length - common) + length - common;
}

function writeLengths(bytes: Buffer, at: number, length: number, common: number): number {
  return writeUvarint(bytes, writeUvarint(bytes, at, common), length - common);
}

/** What the objects of a node stand for beside its bytes, in a cache: so that very small ones count too. */
const OBJECTS = 500;

/** For caches. Its keys may be long, so nodes differ. */
export function nodeWeight({ bytes }: PackedNode): number {
  return bytes.length + OBJECTS;
}
