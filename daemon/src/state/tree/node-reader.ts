import type { Hash, TreeNode } from "@vlinder/protocol";
import type { PackedNode } from "./packed-node.ts";

/**
 * Where tree code gets nodes from. A node that is in memory comes at once and costs no promise:
 * most steps down a tree are of that kind.
 */
export interface NodeReader {
  node(hash: Hash): TreeNode | Promise<TreeNode>;
}

/** Nodes that edits made. */
export type FreshNodes = Map<Hash, PackedNode>;
