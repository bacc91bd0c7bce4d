import type { Hash, Key, TreeNode } from "@vlinder/protocol";
import type { NodeReader } from "./tree/node-reader.ts";
import { lowerBound } from "./tree/cursor.ts";

/** The nodes from the root of a tree down to where a key is, or would be; none of an empty tree. */
export async function pathTo(nodes: NodeReader, root: Hash | null, key: Key): Promise<TreeNode[]> {
  const path: TreeNode[] = [];
  for (let hash: Hash | null = root; hash !== null;) {
    const node: TreeNode = await nodes.node(hash);
    path.push(node);
    const next: Hash | undefined = node.level === 0 ? undefined : node.hashes[lowerBound(node.keys, key)];
    hash = next ?? null;
  }
  return path;
}
