import { type Hash, type Key, sha256, type TreeNode, TREE_VERSION, type TreeVersion } from "@vlinder/protocol";
import { Boundary } from "./boundary.ts";
import { Cursor } from "./cursor.ts";
import { editOne } from "./edit-one.ts";
import type { Edit } from "./edit-type.ts";
import type { FreshNodes, NodeReader } from "./node-reader.ts";
import { PackedNode } from "./packed-node.ts";

/** An entry on its way into a node. */
interface Row {
  readonly key: Key;
  readonly hash: Hash;
  readonly size: number;
  readonly count: number;
}

/** Of which nodes are made. */
interface Place {
  readonly level: number;
  readonly version: TreeVersion;
}

/** A row to set, or null to remove the key. */
type RowEdit = readonly [key: Key, row: Row | null];

/**
 * Applies edits (keys unique and in order) to an immutable tree and returns the new root: at once when a single edit
 * finds all that it needs in memory.
 *
 * Level by level, leaves first. On each level, every stretch that an edit touches is cut into nodes
 * again from the start of the first touched node, where a boundary surely lies, until a new
 * boundary falls on an old one: from there on the old nodes are what the rule gives too. The nodes
 * that went and came are the edits of the level above. So the result depends on the contents alone,
 * never on the way there, and one put rewrites one path.
 * @param version of a tree that is begun; one that is there keeps its own
 */
export function editTree(
  nodes: NodeReader,
  root: Hash | null,
  edits: readonly Edit[],
  fresh: FreshNodes,
  version = TREE_VERSION,
): Hash | null | Promise<Hash | null> {
  const [first] = edits;
  if (first === undefined) return root;
  if (edits.length > 1 || root === null) return editLevels(nodes, root, edits, fresh, version);
  return editOne(nodes, root, first, fresh) ?? editLevels(nodes, root, edits, fresh, version);
}

async function editLevels(
  nodes: NodeReader,
  root: Hash | null,
  edits: readonly Edit[],
  fresh: FreshNodes,
  version: TreeVersion,
): Promise<Hash | null> {
  let pending: RowEdit[] = edits.map((e) => [
    e.key,
    e.hash === null ? null : { key: e.key, hash: e.hash, size: e.size, count: 1 },
  ]);
  if (root === null) return await buildUp(rowsOf(pending), { level: 0, version }, nodes, fresh);

  const top = await nodes.node(root);
  for (let level = 0; level <= top.level; level++) {
    pending = await editLevel(nodes, root, { level, version: top.version }, pending, fresh);
    if (pending.length === 0) return root;
  }
  return await buildUp(rowsOf(pending), { level: top.level + 1, version: top.version }, nodes, fresh);
}

function rowsOf(edits: readonly RowEdit[]): Row[] {
  return edits.flatMap(([, row]) => (row === null ? [] : [row]));
}

/** Cuts and rewrites the touched nodes of one level; returns the edits of the level above. */
async function editLevel(
  nodes: NodeReader,
  root: Hash,
  place: Place,
  edits: readonly RowEdit[],
  fresh: FreshNodes,
): Promise<RowEdit[]> {
  const above: RowEdit[] = [];
  const cursor = new Cursor(nodes);
  let at = 0;
  while (at < edits.length) {
    await cursor.seek(root, place.level, (edits[at] as RowEdit)[0]);
    const cutter = new Cutter(place, fresh);
    const gone: Key[] = [];
    for (;;) {
      const { last } = cursor;
      const node = cursor.node.unpacked();
      gone.push(node.keys.at(-1) as Key);
      at = feed(cutter, node, edits, at, last);
      if (last) cutter.flush();
      if (cutter.empty || !(await cursor.next())) break;
    }
    appendReplacement(above, gone, cutter.rows);
  }
  return above;
}

/** Feeds a node's entries, with the edits that fall into it, to the cutter. Returns the next edit's index. */
function feed(cutter: Cutter, node: TreeNode, edits: readonly RowEdit[], at: number, last: boolean): number {
  const { keys, hashes, sizes, counts, level } = node;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as Key;
    let edit = edits[at];
    while (edit !== undefined && edit[0] < key) {
      if (edit[1] !== null) cutter.take(edit[1]);
      edit = edits[++at];
    }
    if (edit !== undefined && edit[0] === key) {
      if (edit[1] !== null) cutter.take(edit[1]);
      at++;
    } else {
      const count = level === 0 ? 1 : (counts[i] as number);
      cutter.take({ key, hash: hashes[i] as Hash, size: sizes[i] as number, count });
    }
  }
  if (last) {
    for (let edit = edits[at]; edit !== undefined; edit = edits[++at]) {
      if (edit[1] !== null) cutter.take(edit[1]);
    }
  }
  return at;
}

/** Children with these last keys went, these came: as edits of the parent level, in key order. */
function appendReplacement(above: RowEdit[], gone: readonly Key[], came: readonly Row[]): void {
  let i = 0;
  for (const row of came) {
    for (; i < gone.length && (gone[i] as Key) < row.key; i++) above.push([gone[i] as Key, null]);
    if (gone[i] === row.key) i++;
    above.push([row.key, row]);
  }
  for (; i < gone.length; i++) above.push([gone[i] as Key, null]);
}

/** Builds the levels from `level` upwards over these rows; the root is the first level with one node. */
async function buildUp(rows: Row[], lowest: Place, nodes: NodeReader, fresh: FreshNodes): Promise<Hash | null> {
  const { version } = lowest;
  let { level } = lowest;
  while (rows.length > 1 || (level === 0 && rows.length > 0)) {
    const cutter = new Cutter({ level, version }, fresh);
    for (const row of rows) cutter.take(row);
    cutter.flush();
    rows = cutter.rows;
    level++;
  }
  let root = rows[0]?.hash;
  if (root === undefined) return null;
  // What is left of a taller tree may be a chain of nodes with one child each: not canonical.
  for (;;) {
    const node: PackedNode = fresh.get(root) ?? (await nodes.node(root));
    if (node.level === 0 || node.count > 1) return root;
    root = node.hashAt(node.last());
  }
}

/** Cuts a stream of rows into nodes, and keeps the rows that stand for them one level up. */
class Cutter {
  readonly rows: Row[] = [];
  readonly #place: Place;
  readonly #boundary: Boundary;
  readonly #fresh: FreshNodes;
  #pending: Row[] = [];

  constructor(place: Place, fresh: FreshNodes) {
    this.#place = place;
    this.#boundary = new Boundary(place.level, place.version);
    this.#fresh = fresh;
  }

  /** Whether the last row ended a node. */
  get empty(): boolean {
    return this.#pending.length === 0;
  }

  take(row: Row): void {
    this.#pending.push(row);
    if (this.#boundary.take(row.key)) this.flush();
  }

  flush(): void {
    const rows = this.#pending;
    if (rows.length === 0) return;
    this.#pending = [];
    const n = rows.length;
    const { level, version } = this.#place;
    const keys = new Array<Key>(n);
    const hashes = new Array<Hash>(n);
    const sizes = new Array<number>(n);
    const counts = level === 0 ? [] : new Array<number>(n);
    let size = 0;
    let count = 0;
    for (let i = 0; i < n; i++) {
      const row = rows[i] as Row;
      keys[i] = row.key;
      hashes[i] = row.hash;
      sizes[i] = row.size;
      if (level > 0) counts[i] = row.count;
      size += row.size;
      count += row.count;
    }
    const node = PackedNode.of({ version, level, keys, hashes, sizes, counts });
    const hash = sha256(node.bytes);
    this.#fresh.set(hash, node);
    this.rows.push({ key: keys[n - 1] as Key, hash, size, count });
  }
}
