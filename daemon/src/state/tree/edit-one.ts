import { type Hash, sha256, type TreeNode } from "@vlinder/protocol";
import { Boundary } from "./boundary.ts";
import { lowerBound } from "./cursor.ts";
import type { Edit } from "./edit-type.ts";
import type { FreshNodes, NodeReader } from "./node-reader.ts";
import { PackedNode } from "./packed-node.ts";

/**
 * One edit that moves no boundary of the tree, as nearly all do: an overwrite, and an insertion or removal after which the
 * leaf ends where it ended. The leaf is changed, and in each node above it one entry. Returns the new root;
 * undefined when it can't be said at once: `editTree` then does it. What it gives is the same, since where nodes
 * end depends on their keys alone.
 */
export function editOne(nodes: NodeReader, root: Hash, edit: Edit, fresh: FreshNodes): Hash | undefined {
  const { key } = edit;
  const path: PackedNode[] = [];
  const places: number[] = [];
  let isLast = true;
  for (let at = root; ;) {
    const node = nodes.node(at);
    if (!(node instanceof PackedNode)) {
      // Who edits level by level asks again, and hears of what is wrong with it.
      if (node instanceof Promise) node.catch(() => {});
      return undefined;
    }
    const i = lowerBound(node.keys, key);
    if (i === node.keys.length) return undefined;
    path.push(node);
    places.push(i);
    if (node.level === 0) break;
    if (i < node.keys.length - 1) isLast = false;
    at = node.hashAt(i);
  }
  const leaf = path.pop() as PackedNode;
  const i = places.pop() as number;
  const isThere = leaf.keys[i] === key;
  if (edit.hash === null && !isThere) return root;
  let next: PackedNode | undefined;
  let [more, bytes] = [0, 0];
  if (edit.hash !== null && isThere) {
    if (leaf.hashAt(i) === edit.hash) return root;
    bytes = edit.size - leaf.sizeAt(i);
    next = leaf.with(i, edit.hash, bytes, 0);
  } else {
    more = edit.hash === null ? -1 : 1;
    bytes = edit.hash === null ? -leaf.sizeAt(i) : edit.size;
    next = reshaped(leaf, i, edit, isLast);
    if (next === undefined) return undefined;
  }
  let hash = keep(fresh, next);
  for (let depth = path.length - 1; depth >= 0; depth--) {
    const node = path[depth] as PackedNode;
    const place = places[depth] as number;
    hash = keep(fresh, node.with(place, hash, bytes, more));
  }
  return hash;
}

function keep(fresh: FreshNodes, node: PackedNode): Hash {
  const hash = sha256(node.bytes);
  fresh.set(hash, node);
  return hash;
}

/** A leaf with one key more or less, when it begins and ends as before; else undefined. */
function reshaped(leaf: PackedNode, i: number, { key, hash, size }: Edit, isLast: boolean): PackedNode | undefined {
  const last = leaf.keys.length - 1;
  if (hash === null && i === last) return undefined;
  const gone = hash === null ? 1 : 0;
  const added = hash === null ? [] : [{ key, hash, size }];
  const keys = leaf.keys.toSpliced(i, gone, ...added.map((one) => one.key));
  const boundary = new Boundary(0, leaf.version);
  for (const [at, one] of keys.entries()) {
    const ends = boundary.take(one);
    if (ends !== (at === keys.length - 1) && !(isLast && at === keys.length - 1)) return undefined;
  }
  const node: TreeNode = {
    version: leaf.version,
    level: 0,
    keys,
    hashes: leaf.hashes.toSpliced(i, gone, ...added.map((one) => one.hash)),
    sizes: leaf.sizes.toSpliced(i, gone, ...added.map((one) => one.size)),
    counts: [],
  };
  return PackedNode.of(node);
}
