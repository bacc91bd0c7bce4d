import type { Hash, Key, TreeNode } from "@vlinder/protocol";
import type { NodeReader } from "./tree/node-reader.ts";
import type { PackedNode } from "./tree/packed-node.ts";

/** The nodes from the root of a tree down to where a key is, or would be; none of an empty tree. */
export async function pathTo(nodes: NodeReader, root: Hash | null, key: Key): Promise<TreeNode[]> {
  const path: TreeNode[] = [];
  for (let hash: Hash | null = root; hash !== null;) {
    const node: PackedNode = await nodes.node(hash);
    path.push(node.unpacked());
    const spot = node.level === 0 ? null : node.seek(key);
    hash = spot === null ? null : node.hashAt(spot);
  }
  return path;
}
