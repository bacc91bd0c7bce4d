import type { Hash, Key, TreeNode } from "@vlinder/protocol";
import type { NodeReader } from "./node-reader.ts";

/** Index of the first entry with a key of at least this one; the number of entries when there is none. */
export function lowerBound(keys: readonly Key[], key: Key): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as Key) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface Step {
  readonly node: TreeNode;
  index: number;
}

/** Walks the nodes of one level of a tree from left to right. */
export class Cursor {
  readonly #nodes: NodeReader;
  /** The path above the current node, root first. */
  #path: Step[] = [];
  #node: TreeNode | null = null;

  constructor(nodes: NodeReader) {
    this.#nodes = nodes;
  }

  /** The node at hand. */
  get node(): TreeNode {
    if (this.#node === null) throw new Error("the cursor has not been placed");
    return this.#node;
  }

  /** Whether there is no node to the right on this level. */
  get last(): boolean {
    return this.#path.every((step) => step.index === step.node.keys.length - 1);
  }

  /** Goes to the node of `level` that holds the key or where it would be put. */
  async seek(root: Hash, level: number, key: Key): Promise<void> {
    this.#path = [];
    let node = await this.#nodes.node(root);
    while (node.level > level) {
      const index = Math.min(lowerBound(node.keys, key), node.keys.length - 1);
      this.#path.push({ node, index });
      const child = this.#nodes.node(node.hashes[index] as Hash);
      node = child instanceof Promise ? await child : child;
    }
    this.#node = node;
  }

  /** Goes to the next node of the level; false at the end. */
  async next(): Promise<boolean> {
    const depth = this.#path.findLastIndex((step) => step.index < step.node.keys.length - 1);
    if (depth < 0) return false;
    const level = this.node.level;
    this.#path.length = depth + 1;
    const turn = this.#path[depth] as Step;
    turn.index++;
    let child = this.#nodes.node(turn.node.hashes[turn.index] as Hash);
    let node = child instanceof Promise ? await child : child;
    while (node.level > level) {
      this.#path.push({ node, index: 0 });
      child = this.#nodes.node(node.hashes[0] as Hash);
      node = child instanceof Promise ? await child : child;
    }
    this.#node = node;
    return true;
  }
}
