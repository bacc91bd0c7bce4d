import { type Hash, type Key, LIMITS, sha256 } from "@vlinder/protocol";
import { Boundary } from "./boundary.ts";
import type { Edit } from "./edit-type.ts";
import type { FreshNodes, NodeReader } from "./node-reader.ts";
import type { PackedNode } from "./packed-node.ts";
import type { Spot } from "./spot.ts";

/** For one key at a time. */
const scratch = new Uint8Array(LIMITS.keyBytes);

/**
 * One edit that moves no boundary of the tree, as nearly all do: an overwrite, and an insertion or removal after which the
 * leaf ends where it ended, or that is behind all keys. The leaf is changed, and in each node above it one entry. Returns the new root;
 * undefined when it can't be said at once: `editTree` then does it. What it gives is the same, since where nodes
 * end depends on their keys alone.
 */
export function editOne(nodes: NodeReader, root: Hash, edit: Edit, fresh: FreshNodes): Hash | undefined {
  const { key } = edit;
  const path: PackedNode[] = [];
  const spots: Spot[] = [];
  let isLast = true;
  let isBehind = false;
  for (let at = root; ;) {
    const node = nodes.node(at);
    if (node instanceof Promise) {
      // Who edits level by level asks again, and hears of what is wrong with it.
      node.catch(() => {});
      return undefined;
    }
    const found = node.seek(key);
    isBehind = found === null;
    const spot = found ?? node.last();
    path.push(node);
    spots.push(spot);
    if (node.level === 0) break;
    if (spot.index < node.count - 1) isLast = false;
    at = node.childAt(spot);
  }
  const leaf = path.pop() as PackedNode;
  const spot = spots.pop() as Spot;
  const isThere = spot.isExact;
  if (edit.hash === null && !isThere) return root;
  let next: PackedNode | undefined;
  let [more, bytes] = [0, 0];
  if (edit.hash !== null && isThere) {
    if (leaf.hashAt(spot) === edit.hash) return root;
    bytes = edit.size - leaf.sizeAt(spot);
    next = leaf.with(spot, edit.hash, bytes, 0);
  } else {
    more = edit.hash === null ? -1 : 1;
    bytes = edit.hash === null ? -leaf.sizeAt(spot) : edit.size;
    next = reshaped(leaf, isBehind ? leaf.count : spot.index, edit, isLast);
    if (next === undefined) return undefined;
  }
  let hash = keep(fresh, next);
  for (let depth = path.length - 1; depth >= 0; depth--) {
    const node = path[depth] as PackedNode;
    const place = spots[depth] as Spot;
    hash = keep(fresh, isBehind ? endingWith(node, place, key, hash, bytes) : node.with(place, hash, bytes, more));
  }
  return hash;
}

/** An inner node in whose last child a key was put behind all others. */
function endingWith(node: PackedNode, last: Spot, key: Key, hash: Hash, bytes: number): PackedNode {
  const entry = { key, hash, size: node.sizeAt(last) + bytes, count: node.countAt(last) + 1 };
  return node.spliced(last.index, 1, entry);
}

function keep(fresh: FreshNodes, node: PackedNode): Hash {
  const hash = sha256(node.bytes);
  fresh.set(hash, node);
  return hash;
}

/** A leaf with one key more or less, when it begins and ends as before; else undefined. */
function reshaped(leaf: PackedNode, i: number, { key, hash, size }: Edit, isLast: boolean): PackedNode | undefined {
  if (hash === null)
    return i < leaf.count - 1 && keepsEnds(leaf, i, null, isLast) ? leaf.spliced(i, 1, null) : undefined;
  return keepsEnds(leaf, i, key, isLast) ? leaf.spliced(i, 0, { key, hash, size, count: 1 }) : undefined;
}

/** Whether a leaf with a key more in front of an entry, or without this entry, ends where it ended, and nowhere before. */
function keepsEnds(leaf: PackedNode, index: number, added: Key | null, isLast: boolean): boolean {
  const boundary = new Boundary(0, leaf.version);
  const last = leaf.count - (added === null ? 2 : 0);
  let taken = 0;
  const isRight = (ends: boolean): boolean => ends === (taken++ === last) || (isLast && taken > last);
  for (const spot = leaf.start(); spot.next();) {
    // Each is needed for the one behind it.
    const length = spot.keyInto(scratch);
    if (spot.index === index) {
      if (added === null) continue;
      if (!isRight(boundary.take(added))) return false;
    }
    if (!isRight(boundary.takeBytes(scratch, length))) return false;
  }
  return added === null || index < leaf.count || isRight(boundary.take(added));
}
