import {
  decodeTreeNode,
  encodeTreeNode,
  type Hash,
  type Key,
  ownBuffer,
  type TreeNode,
  type TreeVersion,
  uvarintLength,
  writeUvarint,
} from "@vlinder/protocol";
import { Lineage } from "../../storage/object-storage.ts";

const ALL = -1;
/** Counts collections: what a stored version has is known to be stored only since the last one. */
let collections = 0;

/**
 * A node as its bytes, with the keys read and the places of the hashes known. Hashes, sizes and counts are read where
 * they are asked for: a step down a tree needs one of each. A new version of a node with another hash and size in one
 * entry is a copy with these bytes changed, and shares the keys: so an overwrite costs a copy and a hash for
 * each level, and nothing is decoded or encoded.
 *
 * For bytes that are known to be canonical: their hash is one that we computed ourselves. `decodeTreeNode` is for others.
 */
export class PackedNode implements TreeNode {
  readonly level: number;
  readonly keys: readonly Key[];
  #bytes: Buffer;
  /** Shared by all that edits make of it. */
  readonly lineage: Lineage;
  /** Entries that the stored version it was made from does not have so, a bit each; with more than 31 entries -1 says "any". */
  #changed: number;
  /** Since which collection that version is known to be stored. */
  #since: number;
  /** Where each entry's hash begins. */
  readonly #at: readonly number[];
  /** Of an inner node, hashes that were asked for: a text that is made anew is hashed anew, too, where it is looked up. */
  #known: (Hash | undefined)[] | null = null;
  #hashes: Hash[] | null = null;
  #sizes: number[] | null = null;
  #counts: number[] | null = null;

  private constructor(
    bytes: Buffer,
    level: number,
    keys: readonly Key[],
    at: readonly number[],
    lineage: Lineage,
    changed: number,
    since = collections,
  ) {
    this.#bytes = bytes;
    this.level = level;
    this.keys = keys;
    this.lineage = lineage;
    this.#changed = changed;
    this.#since = since;
    this.#at = at;
  }

  /**
   * Stored nodes may go from now on. Of one that another branch stored from the same layer, the nodes below may go with that
   * branch: whoever stores a tree looks at all that its own layers have of it.
   */
  static collecting(): void {
    collections++;
  }

  static of(node: TreeNode): PackedNode {
    if (node instanceof PackedNode) return node;
    const places: number[] = [];
    return new PackedNode(encodeTreeNode(node, places), node.level, node.keys, places, new Lineage(null), ALL);
  }

  /** @throws RangeError, when the bytes are no node; invalid: of a newer format */
  static read(bytes: Buffer, lineage: Lineage): PackedNode {
    // Of a newer format: this says so.
    if (bytes[0] !== 1 && bytes[0] !== 2) decodeTreeNode(bytes);
    let at = 2;
    const varint = (): number => {
      let byte = bytes[at++] as number;
      if (byte < 0x80) return byte;
      let value = byte & 0x7f;
      for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
        byte = bytes[at++] as number;
        value += (byte & 0x7f) * scale;
      }
      return value;
    };
    const level = bytes[1] as number;
    const count = varint();
    const keys: Key[] = [];
    const places: number[] = [];
    let previous = "";
    for (let i = 0; i < count; i++) {
      const common = varint();
      const rest = varint();
      if (at + rest + 32 > bytes.length) throw new RangeError("a node is cut short");
      const own = bytes.toString("latin1", at, at + rest);
      previous = common === 0 ? own : previous.slice(0, common) + own;
      keys.push(previous as Key);
      at += rest;
      places.push(at);
      at += 32;
      varint();
      if (level > 0) varint();
    }
    if (at !== bytes.length || count === 0) throw new RangeError("bytes are no node");
    return new PackedNode(bytes, level, keys, places, lineage, lineage.stored === null ? ALL : 0);
  }

  get version(): TreeVersion {
    return this.#bytes[0] as TreeVersion;
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  /**
   * It is about to be stored, so it may stay in memory for long: as a part of a pool of Buffers it would keep the pool, of
   * which nothing else is needed. (Nodes further up are replaced at once, and are few.)
   */
  settle(): this {
    this.#bytes = ownBuffer(this.#bytes);
    return this;
  }

  /** Whether an entry's subtree may have nodes that are not stored. */
  isChanged(i: number): boolean {
    return this.#changed === ALL || this.#since !== collections || (i < 31 && (this.#changed & (1 << i)) !== 0);
  }

  /** It is stored, and durable, with all below it. */
  stored(hash: Hash): void {
    this.lineage.stored = hash;
    this.#changed = 0;
    this.#since = collections;
  }

  hashAt(i: number): Hash {
    const known = this.#known?.[i];
    if (known !== undefined) return known;
    const at = this.#at[i] as number;
    const hash = this.#bytes.toString("hex", at, at + 32) as Hash;
    if (this.level > 0) (this.#known ??= new Array<undefined>(this.keys.length).fill(undefined))[i] = hash;
    return hash;
  }

  /** Whether two entries have the same hash. */
  hasSame(i: number, other: PackedNode, j: number): boolean {
    const [a, b] = [this.#at[i] as number, other.#at[j] as number];
    return this.bytes.compare(other.bytes, b, b + 32, a, a + 32) === 0;
  }

  sizeAt(i: number): number {
    return this.#varintAt((this.#at[i] as number) + 32);
  }

  countAt(i: number): number {
    if (this.level === 0) return 1;
    const at = (this.#at[i] as number) + 32;
    return this.#varintAt(at + uvarintLength(this.#varintAt(at)));
  }

  get hashes(): readonly Hash[] {
    return (this.#hashes ??= this.keys.map((_, i) => this.hashAt(i)));
  }

  get sizes(): readonly number[] {
    return (this.#sizes ??= this.keys.map((_, i) => this.sizeAt(i)));
  }

  get counts(): readonly number[] {
    return (this.#counts ??= this.level === 0 ? [] : this.keys.map((_, i) => this.countAt(i)));
  }

  /** The same node with another hash in one entry, and so much more in size and count. */
  with(i: number, hash: Hash, moreSize: number, moreCount: number): PackedNode {
    const { bytes, level } = this;
    const at = (this.#at[i] as number) + 32;
    let copy: Buffer;
    let places = this.#at;
    if (moreSize === 0 && moreCount === 0) {
      copy = Buffer.allocUnsafe(bytes.length);
      copy.set(bytes);
    } else {
      const [oldSize, oldCount] = [this.sizeAt(i), this.countAt(i)];
      const [size, count] = [oldSize + moreSize, oldCount + moreCount];
      const end = at + uvarintLength(oldSize) + (level === 0 ? 0 : uvarintLength(oldCount));
      const newEnd = at + uvarintLength(size) + (level === 0 ? 0 : uvarintLength(count));
      copy = Buffer.allocUnsafe(bytes.length + newEnd - end);
      bytes.copy(copy, 0, 0, at);
      bytes.copy(copy, newEnd, end);
      const behind = writeUvarint(copy, at, size);
      if (level > 0) writeUvarint(copy, behind, count);
      if (newEnd !== end) places = places.map((place) => (place > at ? place + newEnd - end : place));
    }
    copy.write(hash, at - 32, 32, "hex");
    const changed = i < 31 ? this.#changed | (1 << i) : ALL;
    const next = new PackedNode(copy, level, this.keys, places, this.lineage, changed, this.#since);
    // This one is hardly asked again.
    const known = this.#known;
    if (known !== null) {
      known[i] = hash;
      next.#known = known;
      this.#known = null;
    }
    return next;
  }

  #varintAt(at: number): number {
    const { bytes } = this;
    let byte = bytes[at] as number;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
      byte = bytes[++at] as number;
      value += (byte & 0x7f) * scale;
    }
    return value;
  }
}

/** What the objects of a node stand for beside its bytes, in a cache: so that very small ones count too. */
const OBJECTS = 500;

/** For caches. Its keys may be long, so nodes differ. */
export function nodeWeight({ bytes }: PackedNode): number {
  return bytes.length + OBJECTS;
}
