import type { Hash, TreeNode } from "@vlinder/protocol";

/**
 * Where tree code gets nodes from. A node that is in memory comes at once and costs no promise:
 * most steps down a tree are of that kind.
 */
export interface NodeReader {
  node(hash: Hash): TreeNode | Promise<TreeNode>;
}

/** A node that an edit made, with the bytes that its hash is of. */
export interface FreshNode {
  readonly node: TreeNode;
  readonly bytes: Uint8Array;
}

export type FreshNodes = Map<Hash, FreshNode>;
