import { decodeChunkList, decodeTreeNode, type Hash, parseCanonicalJson, type TreeNode } from "@vlinder/protocol";
import { type Kind, KINDS, type ObjectStorage } from "../../storage/object-storage.ts";
import { DamagedObject, valueKind } from "../objects.ts";
import type { NodeReader } from "../tree/node-reader.ts";
import type { ParsedChanges, ParsedCommit } from "./commit-table.ts";
import { HashTable } from "./hash-table.ts";
import { Pace } from "./pace.ts";

/** Nodes that are read at once, on the way through a tree. */
const TOGETHER = 64;

/** The objects that what is kept needs. What is marked once is not followed again. */
export class Marks {
  readonly #storage: ObjectStorage;
  readonly #pace = new Pace();
  readonly #marked = new Map<Kind, HashTable>(KINDS.map((kind) => [kind, new HashTable()]));

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  has(kind: Kind, hash: Hash): boolean {
    return this.#of(kind).has(hash);
  }

  /** @returns whether it is new */
  mark(kind: Kind, hash: Hash): boolean {
    const table = this.#of(kind);
    const { size } = table;
    table.add(hash);
    return table.size > size;
  }

  /** What a commit brings besides its trees: values that it put, and those of its event. */
  async commit(commit: ParsedCommit): Promise<void> {
    if (this.#pace.due) await this.#pace.rest();
    for (const [hash, size] of Object.values(commit.event.values ?? {})) await this.value(hash, size);
    const changes = await changesOf(this.#storage, commit);
    if (changes.contract !== undefined) this.mark("value", changes.contract);
    for (const list of [changes.kv, changes.vectors]) {
      for (const [, hash, size] of list ?? []) if (hash !== null) await this.value(hash, size);
    }
  }

  /** A value, with lists and chunks where it is large. */
  async value(hash: Hash, size: number): Promise<void> {
    const kind = valueKind(size);
    if (!this.mark(kind, hash) || kind === "value") return;
    const open = [hash];
    for (let list = open.pop(); list !== undefined; list = open.pop()) {
      const [bytes] = await this.#storage.read("list", [list]);
      // An erased value's parts are gone, and its name stays.
      if (bytes == null) continue;
      const { level, parts } = decodeChunkList(bytes);
      for (const part of parts) {
        if (level === 1) this.mark("chunk", part.hash);
        else if (this.mark("list", part.hash)) open.push(part.hash);
      }
    }
  }

  /** A tree that is stored. @throws DamagedObject: nothing is to be removed from a state with damage */
  async tree(root: Hash | null): Promise<void> {
    const open: Hash[] = root !== null && this.mark("node", root) ? [root] : [];
    while (open.length > 0) {
      const now = open.splice(-TOGETHER);
      const read = await this.#storage.read("node", now);
      for (const [i, bytes] of read.entries()) {
        if (bytes === null) throw new DamagedObject("node", now[i] as Hash, "missing");
        for (const child of await this.#node(decodeTreeNode(bytes))) open.push(child);
      }
    }
  }

  /** A tree of which parts may not be stored yet. */
  async treeOf(nodes: NodeReader, root: Hash | null): Promise<void> {
    const open = root !== null && this.mark("node", root) ? [root] : [];
    for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
      for (const child of await this.#node((await nodes.node(hash)).unpacked())) open.push(child);
    }
  }

  /** Marks a leaf's values; returns a node's children that are new. */
  async #node({ level, hashes, sizes }: TreeNode): Promise<Hash[]> {
    if (this.#pace.due) await this.#pace.rest();
    if (level > 0) return hashes.filter((hash) => this.mark("node", hash));
    for (const [i, hash] of hashes.entries()) await this.value(hash, sizes[i] as number);
    return [];
  }

  #of(kind: Kind): HashTable {
    return this.#marked.get(kind) as HashTable;
  }
}

/** A commit's changes, from its change list where it has one. @throws DamagedObject */
export async function changesOf(storage: ObjectStorage, { changes }: ParsedCommit): Promise<ParsedChanges> {
  if (typeof changes !== "string") return changes ?? {};
  const [bytes] = await storage.read("changes", [changes]);
  if (bytes == null) throw new DamagedObject("changes", changes, "missing");
  return parseCanonicalJson(bytes, "change list") as ParsedChanges;
}
