import { invalid } from "../errors.ts";
import { asBuffer, type Hash, hashFromBytes } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { type Key, keyFromBytes } from "../names.ts";
import { ByteReader, uvarintLength, writeUvarint } from "./varint.ts";
import { refuseNewerFormat } from "./version.ts";

/**
 * A node of the tree, entries in key order, as parallel arrays.
 *
 * In a leaf (level 0) an entry is a key, its value's hash and size. Above, it is the last key under
 * a child, the child's hash, and totals over all that is under it: number of keys, bytes of values.
 */
export interface TreeNode {
  /** That of the whole tree: it says where nodes end. */
  readonly version: TreeVersion;
  readonly level: number;
  readonly keys: readonly Key[];
  readonly hashes: readonly Hash[];
  /** Leaf: bytes of the value. Above: bytes of all values under the child. */
  readonly sizes: readonly number[];
  /** Above leaves: keys under the child. Empty in a leaf. */
  readonly counts: readonly number[];
}

/** 1: trees begun before nodes were made twice as large; they stay so. docs/formats.md says where the nodes of each end. */
export type TreeVersion = 1 | 2;

/** Of trees that are begun now. */
export const TREE_VERSION: TreeVersion = 2;
const MAX_LEVEL = 40;

function sharedPrefix(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

/**
 * `u8 version, u8 level, uvarint n`, then n entries `uvarint shared, uvarint rest, key rest, 32-byte
 * hash, uvarint size [, uvarint count above leaves]`; `shared` is how many bytes the key has in
 * common with the one before it. docs/formats.md has the table.
 */
export function encodeTreeNode(node: TreeNode): Buffer {
  const { keys, hashes, sizes, counts, level, version } = node;
  const n = keys.length;
  const shared: number[] = new Array<number>(n);
  let length = 2 + uvarintLength(n);
  let previous = "";
  for (let i = 0; i < n; i++) {
    const key = keys[i] as Key;
    const common = i === 0 ? 0 : sharedPrefix(previous, key);
    shared[i] = common;
    length += uvarintLength(common) + uvarintLength(key.length - common) + key.length - common + 32;
    length += uvarintLength(sizes[i] as number);
    if (level > 0) length += uvarintLength(counts[i] as number);
    previous = key;
  }
  const buffer = Buffer.allocUnsafe(length);
  buffer[0] = version;
  buffer[1] = level;
  let at = writeUvarint(buffer, 2, n);
  for (let i = 0; i < n; i++) {
    const key = keys[i] as Key;
    const common = shared[i] as number;
    at = writeUvarint(buffer, at, common);
    at = writeUvarint(buffer, at, key.length - common);
    at += buffer.write(common === 0 ? key : key.slice(common), at, "latin1");
    at += buffer.write(hashes[i] as Hash, at, "hex");
    at = writeUvarint(buffer, at, sizes[i] as number);
    if (level > 0) at = writeUvarint(buffer, at, counts[i] as number);
  }
  return buffer;
}

/** @throws invalid, for every spelling of a node but the one that `encodeTreeNode` writes */
export function decodeTreeNode(bytes: Uint8Array): TreeNode {
  const reader = new ByteReader(asBuffer(bytes));
  const version = reader.u8();
  refuseNewerFormat("a tree node", version, TREE_VERSION);
  if (version !== 1 && version !== 2) throw invalid(`a tree node of format ${version}; this release knows 1 and 2`);
  const level = reader.u8();
  const n = reader.uvarint();
  if (level > MAX_LEVEL || n === 0 || n > bytes.length / 35) throw invalid("not a tree node");
  const keys: Key[] = [];
  const hashes: Hash[] = [];
  const sizes: number[] = [];
  const counts: number[] = [];
  let previous = "";
  for (let i = 0; i < n; i++) {
    const common = reader.uvarint();
    const rest = reader.uvarint();
    if (common > previous.length || common + rest > LIMITS.keyBytes) throw invalid("not a tree node: a bad key length");
    const text = previous.slice(0, common) + reader.take(rest).toString("latin1");
    if (text <= previous) throw invalid("not a tree node: keys out of order");
    if (i > 0 && sharedPrefix(previous, text) !== common) throw invalid("not a tree node: a prefix is not the longest");
    const key = keyFromBytes(Buffer.from(text, "latin1"));
    if (key === null) throw invalid("not a tree node: a key is not valid UTF-8");
    keys.push(key);
    hashes.push(hashFromBytes(reader.take(32)));
    sizes.push(reader.uvarint());
    if (level > 0) counts.push(reader.uvarint());
    previous = key;
  }
  if (!reader.done) throw invalid("not a tree node: bytes behind its end");
  return { version, level, keys, hashes, sizes, counts };
}
