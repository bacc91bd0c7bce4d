import type { Hash } from "@vlinder/protocol";
import type { PackedNode } from "./packed-node.ts";

/**
 * Where tree code gets nodes from. A node that is in memory comes at once and costs no promise:
 * most steps down a tree are of that kind.
 */
export interface NodeReader {
  node(hash: Hash): PackedNode | Promise<PackedNode>;
}

/** Nodes that edits made. */
export type FreshNodes = Map<Hash, PackedNode>;
