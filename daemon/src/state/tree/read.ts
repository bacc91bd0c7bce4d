import type { Hash, Key } from "@vlinder/protocol";
import type { DiffEntry, Entry } from "../api.ts";
import { Cursor } from "./cursor.ts";
import type { NodeReader } from "./node-reader.ts";
import type { Layout, PackedNode } from "./packed-node.ts";
import { HASH_BYTES } from "./spot.ts";

/** One path down; at once when all of it is at hand. */
export function getEntry(nodes: NodeReader, root: Hash | null, key: Key): Entry | null | Promise<Entry | null> {
  for (let at = root; at !== null;) {
    const node = nodes.node(at);
    if (node instanceof Promise) return node.then((found) => entryBelow(nodes, found, key));
    const found = stepDown(node, key);
    if (typeof found !== "string") return found;
    at = found;
  }
  return null;
}

function entryBelow(nodes: NodeReader, node: PackedNode, key: Key): Entry | null | Promise<Entry | null> {
  const found = stepDown(node, key);
  return typeof found === "string" ? getEntry(nodes, found, key) : found;
}

/** The child to go on in, the entry, or null when there is none. */
function stepDown(node: PackedNode, key: Key): Hash | Entry | null {
  const spot = node.seek(key);
  if (spot === null) return null;
  if (node.level > 0) return node.childAt(spot);
  return spot.isExact ? { key, hash: node.hashAt(spot), size: node.sizeAt(spot) } : null;
}

/** Entries with keys of at least `from`, in order, leaf by leaf. */
export async function* entriesFrom(nodes: NodeReader, root: Hash | null, from: Key): AsyncGenerator<Entry[]> {
  if (root === null) return;
  const cursor = new Cursor(nodes);
  await cursor.seek(root, 0, from);
  do {
    const { keys, hashes, sizes } = cursor.node.unpacked();
    const entries: Entry[] = [];
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as Key;
      if (key >= from) entries.push({ key, hash: hashes[i] as Hash, size: sizes[i] as number });
    }
    yield entries;
  } while (await cursor.next());
}

export async function treeTotals(nodes: NodeReader, root: Hash | null): Promise<{ count: number; bytes: number }> {
  if (root === null) return { count: 0, bytes: 0 };
  const { level, keys, sizes, counts } = (await nodes.node(root)).unpacked();
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  return { count: level === 0 ? keys.length : counts.reduce((sum, n) => sum + n, 0), bytes };
}

/** A subtree or, at level -1, an entry: what lies in front of one side of a diff. */
interface Item {
  readonly level: number;
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
}

/** A node whose keys were read. */
interface Opened {
  readonly node: PackedNode;
  readonly layout: Layout;
}

/** The unread rest of one tree, nearest item last, so that taking it is a pop. */
class Front {
  readonly #nodes: NodeReader;
  readonly #items: Item[];

  private constructor(nodes: NodeReader, items: Item[]) {
    this.#nodes = nodes;
    this.#items = items;
  }

  static async at(nodes: NodeReader, root: Hash | null): Promise<Front> {
    if (root === null) return new Front(nodes, []);
    const node = await nodes.node(root);
    return new Front(nodes, [{ level: node.level, key: node.layout().keys.at(-1) as Key, hash: root, size: 0 }]);
  }

  get item(): Item | undefined {
    return this.#items.at(-1);
  }

  take(): Item {
    return this.#items.pop() as Item;
  }

  /** Replaces the subtree in front by what is in it. */
  async expand(): Promise<void> {
    const { node, layout } = await this.open();
    this.push(node, layout, 0, node.count);
  }

  /** Takes the subtree in front away. */
  async open(): Promise<Opened> {
    const { hash } = this.take();
    const read = this.#nodes.node(hash);
    const node = read instanceof Promise ? await read : read;
    return { node, layout: node.layout() };
  }

  /** Puts entries of a node in front. */
  push(node: PackedNode, { keys }: Layout, from: number, to: number): void {
    const level = node.level - 1;
    const items: Item[] = [];
    for (const spot = node.start(); spot.index < to - 1 && spot.next();) {
      const { index } = spot;
      if (index >= from)
        items.push({ level, key: keys[index] as Key, hash: node.hashAt(spot), size: node.sizeAt(spot) });
    }
    this.#items.push(...items.reverse());
  }
}

/** Opens two subtrees of one level; what is equal at their ends, as nearly all of it is, is left out at once. */
async function expandBoth(left: Front, right: Front): Promise<void> {
  const [a, b] = [await left.open(), await right.open()];
  const [m, n] = [a.node.count, b.node.count];
  const most = Math.min(m, n);
  let start = 0;
  while (start < most && isSame(a, start, b, start)) start++;
  let end = 0;
  while (end < most - start && isSame(a, m - 1 - end, b, n - 1 - end)) end++;
  left.push(a.node, a.layout, start, m - end);
  right.push(b.node, b.layout, start, n - end);
}

/** The same key and hash; and below it all is the same. */
function isSame(a: Opened, i: number, b: Opened, j: number): boolean {
  if (a.layout.keys[i] !== b.layout.keys[j]) return false;
  const [x, y] = [a.layout.places[i] as number, b.layout.places[j] as number];
  return a.node.bytes.compare(b.node.bytes, y, y + HASH_BYTES, x, x + HASH_BYTES) === 0;
}

const entryOf = (item: Item): Entry => ({ key: item.key, hash: item.hash, size: item.size });

/**
 * What differs between two trees, in key order. Both are read side by side; subtrees with equal
 * hashes are dropped unread, whatever stands above them, so the cost goes with the difference.
 */
export async function* diffTrees(
  nodes: NodeReader,
  fromRoot: Hash | null,
  to: NodeReader,
  toRoot: Hash | null,
): AsyncGenerator<DiffEntry> {
  if (fromRoot === toRoot) return;
  const left = await Front.at(nodes, fromRoot);
  const right = await Front.at(to, toRoot);
  for (;;) {
    const a = left.item;
    const b = right.item;
    if (a === undefined && b === undefined) return;
    if (a !== undefined && b !== undefined && a.level === b.level && a.hash === b.hash && a.key === b.key) {
      left.take();
      right.take();
    } else if (a !== undefined && b !== undefined && a.level >= 0 && a.level === b.level) {
      // Of two subtrees on the same level both must be opened, or one side would run ahead.
      await expandBoth(left, right);
    } else if (a !== undefined && a.level >= 0 && (b === undefined || a.level >= b.level)) {
      await left.expand();
    } else if (b !== undefined && b.level >= 0) {
      await right.expand();
    } else if (b === undefined || (a !== undefined && a.key < b.key)) {
      yield { key: (a as Item).key, from: entryOf(left.take()), to: null };
    } else if (a === undefined || b.key < a.key) {
      yield { key: b.key, from: null, to: entryOf(right.take()) };
    } else {
      yield { key: a.key, from: entryOf(left.take()), to: entryOf(right.take()) };
    }
  }
}
