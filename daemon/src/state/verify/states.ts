import {
  type Changes,
  type Commit,
  decodeSnapshot,
  decodeTreeNode,
  type Hash,
  hashSnapshot,
  ownBuffer,
  type Snapshot,
} from "@vlinder/protocol";
import { Lineage } from "../../storage/object-storage.ts";
import { adopted, emptyHead, type Head, LayeredNodes, reapplyChanges, STORE_AFTER_COMMITS } from "../head.ts";
import type { NodeReader } from "../tree/node-reader.ts";
import { nodeWeight, PackedNode } from "../tree/packed-node.ts";
import { TwoGenerations } from "../two-generations.ts";
import type { CheckedObjects, Standing } from "./checked-objects.ts";
import type { Finding } from "./findings.ts";

/** Bytes of the nodes at hand, of each generation: some 7,500 nodes of usual keys. The thread's heap has a bound. */
const CACHED_BYTES = 9_000_000;
/** Nodes that the storage has lost and that were computed: with them the commits behind can be checked, too. */
const REPAIRED_NODES = 1000;
/** Nodes in the states that are kept for commits to come: about 20 MB. States over it are computed again. */
const KEPT_NODES = 2000;

/** A state that can't be computed, because of this; null: retention dropped it. */
export class Lost {
  readonly finding: Finding | null;
  constructor(finding: Finding | null) {
    this.finding = finding;
  }
}

export type State = Head | Lost;

export const DROPPED = new Lost(null);

/** A node that a state needs is not good. */
export class NodeNotGood extends Error {
  readonly hash: Hash;
  readonly standing: Standing;
  constructor(hash: Hash, standing: Standing) {
    super(`the node ${hash} is ${standing}`);
    this.hash = hash;
    this.standing = standing;
  }
}

/** The states that commits are computed from, over the trees in the storage. */
export class States implements NodeReader {
  readonly #objects: CheckedObjects;
  readonly #nodes = new TwoGenerations<Hash, PackedNode>(CACHED_BYTES, nodeWeight);
  readonly #repaired = new Map<Hash, PackedNode>();
  /** The one that was made last is the last. */
  readonly #kept = new Map<Hash, { readonly state: State; readonly nodes: number }>();
  #keptNodes = 0;

  constructor(objects: CheckedObjects) {
    this.#objects = objects;
  }

  get empty(): Head {
    return emptyHead(this);
  }

  /** A state that was kept; undefined when it has to be computed. */
  get(commit: Hash): State | undefined {
    return this.#kept.get(commit)?.state;
  }

  keep(commit: Hash, state: State): void {
    // A layer grows with the states on it: what it had when it was kept is what is given back.
    const nodes = state instanceof Lost ? 1 : state.nodes.layers.reduce((sum, layer) => sum + layer.size, 1);
    this.#kept.set(commit, { state, nodes });
    this.#keptNodes += nodes;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptNodes <= KEPT_NODES || oldest === commit) return;
      this.release(oldest);
    }
  }

  /** Nothing is computed from it any more. */
  release(commit: Hash): void {
    this.#keptNodes -= this.#kept.get(commit)?.nodes ?? 0;
    this.#kept.delete(commit);
  }

  /** The state that a commit's changes give. @throws NodeNotGood */
  async after(parent: Head, changes: Changes, hash: Hash, commit: Commit): Promise<Head> {
    return this.#head(parent, hash, commit, await reapplyChanges(parent, changes, commit));
  }

  /** The state of a rewind. */
  adopting(parent: Head, other: Head, hash: Hash, commit: Commit): Head {
    return this.#head(parent, hash, commit, adopted(parent, other));
  }

  #head(parent: Head, hash: Hash, commit: Commit, state: Pick<Head, "snapshot" | "nodes">): Head {
    const sinceCommits = parent.sinceCommits + 1;
    return { ...state, commit: hash, time: commit.time ?? "", sinceCommits, sinceChanges: 0, retiring: null };
  }

  /** A state whose trees are in the storage. @throws invalid, when the bytes are no snapshot */
  stored(hash: Hash, commit: Commit, snapshot: Uint8Array): Head {
    return this.#head(this.empty, hash, commit, { snapshot: decodeSnapshot(snapshot), nodes: this.empty.nodes });
  }

  /**
   * Goes over to the storage for the nodes of a state that are there. `lacking` is told of those that should be and are not: all of
   * the state's own when its trees are said to be stored. Every other node of it was looked at with the state that brought it.
   */
  async settle(
    head: Head,
    lacking: ((hash: Hash, node: PackedNode, standing: Standing) => void) | null,
  ): Promise<Head> {
    const kept = new Map<Hash, PackedNode>();
    for (const [hash, fresh] of ownNodes(head)) {
      const found = lacking === null ? this.#objects.standing("node", hash) : this.#objects.reach("node", hash);
      const standing = found instanceof Promise ? await found : found;
      if (standing === "good") this.#found(hash, fresh);
      else if (lacking === null) kept.set(hash, fresh);
      else {
        lacking(hash, fresh, standing);
        if (this.#repaired.size < REPAIRED_NODES) this.#repaired.set(hash, fresh);
      }
    }
    return { ...head, nodes: new LayeredNodes(kept.size === 0 ? [] : [kept], this), sinceCommits: 0 };
  }

  /** Whether a state has gone without stored trees for longer than any writer lets it. */
  isOverdue({ sinceCommits }: Head): boolean {
    return sinceCommits > STORE_AFTER_COMMITS;
  }

  node(hash: Hash): PackedNode | Promise<PackedNode> {
    const known = this.#nodes.get(hash) ?? this.#repaired.get(hash);
    if (known !== undefined) return known;
    const bytes = this.#objects.readNow("node", hash);
    return bytes === null ? this.#readNode(hash) : this.#remember(hash, bytes);
  }

  async #readNode(hash: Hash): Promise<PackedNode> {
    const { standing, bytes } = await this.#objects.read("node", hash);
    if (bytes === null) throw new NodeNotGood(hash, standing);
    return this.#remember(hash, bytes);
  }

  #remember(hash: Hash, bytes: Uint8Array): PackedNode {
    const node = readNode(hash, bytes);
    this.#nodes.set(hash, node);
    return node;
  }

  /** A node that was computed and is in the storage. The version before it is hardly needed again, and would crowd out what is. */
  #found(hash: Hash, node: PackedNode): void {
    if (node.lineage.stored !== null) this.#nodes.delete(node.lineage.stored);
    node.settle().stored(hash);
    this.#nodes.set(hash, node);
  }
}

/** Its hash is right; what is no node in spite of that gets the strict reader's words. */
function readNode(hash: Hash, bytes: Uint8Array): PackedNode {
  try {
    return PackedNode.read(ownBuffer(bytes), new Lineage(hash));
  } catch {
    return PackedNode.of(decodeTreeNode(bytes));
  }
}

export function isSnapshotOf({ snapshot }: { readonly snapshot: Snapshot }, commit: Commit): boolean {
  return hashSnapshot(snapshot) === commit.snapshot;
}

/** The nodes of a state's trees that are in its layers, each once. */
function* ownNodes({ snapshot, nodes }: Head): Generator<[hash: Hash, node: PackedNode]> {
  const seen = new Set<Hash>();
  const open = [snapshot.kv, snapshot.vectors].filter((root) => root !== null);
  for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
    const fresh = nodes.layers.find((layer) => layer.has(hash as Hash))?.get(hash);
    if (fresh === undefined || seen.has(hash)) continue;
    seen.add(hash);
    // What it has in common with a version that was found was looked at with that one. Before it is given out: then it is found itself.
    open.push(...fresh.changedChildren());
    yield [hash, fresh];
  }
}
