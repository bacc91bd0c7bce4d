import type { Hash, Key } from "@vlinder/protocol";
import type { NodeReader } from "./node-reader.ts";
import type { PackedNode } from "./packed-node.ts";
import type { Spot } from "./spot.ts";

/** A node, and the child that was gone to: what is behind it comes next. */
interface Step {
  readonly node: PackedNode;
  readonly spot: Spot;
}

/** Walks the nodes of one level of a tree from left to right. */
export class Cursor {
  readonly #nodes: NodeReader;
  /** The path above the current node, root first. */
  #path: Step[] = [];
  #node: PackedNode | null = null;

  constructor(nodes: NodeReader) {
    this.#nodes = nodes;
  }

  /** The node at hand. */
  get node(): PackedNode {
    if (this.#node === null) throw new Error("the cursor has not been placed");
    return this.#node;
  }

  /** Whether there is no node to the right on this level. */
  get last(): boolean {
    return this.#path.every(isLast);
  }

  /** Goes to the node of `level` that holds the key or where it would be put. */
  async seek(root: Hash, level: number, key: Key): Promise<void> {
    this.#path = [];
    let node = await this.#nodes.node(root);
    while (node.level > level) {
      const spot = node.seek(key) ?? node.last();
      this.#path.push({ node, spot });
      const child = this.#nodes.node(node.childAt(spot));
      node = child instanceof Promise ? await child : child;
    }
    this.#node = node;
  }

  /** Goes to the next node of the level; false at the end. */
  async next(): Promise<boolean> {
    const depth = this.#path.findLastIndex((step) => !isLast(step));
    if (depth < 0) return false;
    const level = this.node.level;
    this.#path.length = depth + 1;
    const turn = this.#path[depth] as Step;
    turn.spot.next();
    let child = this.#nodes.node(turn.node.childAt(turn.spot));
    let node = child instanceof Promise ? await child : child;
    while (node.level > level) {
      const spot = node.start();
      spot.next();
      this.#path.push({ node, spot });
      child = this.#nodes.node(node.childAt(spot));
      node = child instanceof Promise ? await child : child;
    }
    this.#node = node;
    return true;
  }
}

function isLast({ node, spot }: Step): boolean {
  return spot.index === node.count - 1;
}
