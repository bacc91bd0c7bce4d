import {
  type Changes,
  type Commit,
  changeCount,
  EMPTY_SNAPSHOT,
  encodeSnapshot,
  type Hash,
  hashSnapshot,
  type Snapshot,
  type TreeVersion,
} from "@vlinder/protocol";
import type { StoredObject } from "../storage/object-storage.ts";
import { timeOf } from "./ancestry.ts";
import { andThen } from "./and-then.ts";
import { editTree } from "./tree/edit.ts";
import type { FreshNodes, NodeReader } from "./tree/node-reader.ts";
import type { PackedNode } from "./tree/packed-node.ts";

/** Trees are stored after this many commits or changes along first parents, whichever comes first. */
export const STORE_AFTER_COMMITS = 64;
export const STORE_AFTER_CHANGES = 1024;

/** Nodes that are not stored yet, over those that are. */
export class LayeredNodes implements NodeReader {
  /** Newest first. A layer only ever gains nodes. */
  readonly layers: readonly FreshNodes[];
  readonly #stored: NodeReader;

  constructor(layers: readonly FreshNodes[], stored: NodeReader) {
    this.layers = layers;
    this.#stored = stored;
  }

  node(hash: Hash): PackedNode | Promise<PackedNode> {
    for (const layer of this.layers) {
      const fresh = layer.get(hash);
      if (fresh !== undefined) return fresh;
    }
    return this.#stored.node(hash);
  }

  with(layer: FreshNodes): LayeredNodes {
    return this.layers.includes(layer) ? this : new LayeredNodes([layer, ...this.layers], this.#stored);
  }

  without(layers: readonly FreshNodes[]): LayeredNodes {
    return new LayeredNodes(
      this.layers.filter((layer) => !layers.includes(layer)),
      this.#stored,
    );
  }

  withNewLayer(): LayeredNodes {
    return new LayeredNodes([new Map(), ...this.layers], this.#stored);
  }

  over(layers: readonly FreshNodes[]): LayeredNodes {
    return new LayeredNodes([...new Set([...this.layers, ...layers])], this.#stored);
  }
}

/** Layers whose nodes a transaction stores, as far as one state needs them: once it is durable, they can go. */
export interface Retiring {
  readonly layers: readonly FreshNodes[];
  /** The nodes that are stored. */
  readonly nodes: ReadonlyMap<Hash, PackedNode>;
  durable: boolean;
}

/**
 * The state at a commit, ready to be read and to be built on. Immutable: a commit on top gives
 * another head. What its trees lack in the storage is in the layers of `nodes`.
 */
export interface Head {
  readonly commit: Hash;
  readonly time: string;
  readonly snapshot: Snapshot;
  readonly nodes: LayeredNodes;
  /** Commits and changes since a commit whose trees are stored. */
  readonly sinceCommits: number;
  readonly sinceChanges: number;
  readonly retiring: Retiring | null;
}

/** The state before the first commit. */
export function emptyHead(stored: NodeReader): Head {
  return {
    commit: "" as Hash,
    time: "",
    snapshot: EMPTY_SNAPSHOT,
    nodes: new LayeredNodes([], stored),
    sinceCommits: 0,
    sinceChanges: 0,
    retiring: null,
  };
}

/** A state that has no commit yet. */
export interface Applied {
  readonly snapshot: Snapshot;
  readonly nodes: LayeredNodes;
}

/** Applies changes to the trees of a state; the new nodes go to a layer. At once where `editTree` can. */
export function applyChanges(from: Head, changes: Changes, version?: TreeVersion): Applied | Promise<Applied> {
  const kept = from.retiring?.durable === true ? from.nodes.without(from.retiring.layers) : from.nodes;
  // A state that is built on what is stored starts a layer; one that is not goes on with its layer.
  const layer: FreshNodes = kept.layers[0] ?? new Map();
  const nodes = kept.with(layer);
  const edit = (root: Hash | null, list: Changes["kv"] = []): Hash | null | Promise<Hash | null> =>
    list.length === 0
      ? root
      : editTree(
          nodes,
          root,
          list.map(([key, hash, size]) => ({ key, hash, size })),
          layer,
          version,
        );
  const contract = changes.contract ?? from.snapshot.contract;
  const kv = edit(from.snapshot.kv, changes.kv);
  const vectors = edit(from.snapshot.vectors, changes.vectors);
  if (!(kv instanceof Promise || vectors instanceof Promise)) return { snapshot: { contract, kv, vectors }, nodes };
  return Promise.all([kv, vectors]).then(([kvRoot, vectorsRoot]) => ({
    snapshot: { contract, kv: kvRoot, vectors: vectorsRoot },
    nodes,
  }));
}

/** The same for a commit that is there already: a tree that it began may be of an older version. */
export function reapplyChanges(
  from: Head,
  changes: Changes,
  { snapshot }: Pick<Commit, "snapshot">,
): Applied | Promise<Applied> {
  return andThen(applyChanges(from, changes), (state) =>
    hashSnapshot(state.snapshot) === snapshot ? state : applyChanges(from, changes, 1),
  );
}

/**
 * The head after a commit. When its trees are due, the objects that store them come along: after the
 * interval, and wherever a replay along first parents would need more than the commit's own changes.
 */
export function advance(
  from: Head,
  hash: Hash,
  commit: Commit,
  changes: Changes,
  state: Applied,
): { head: Head; stored: StoredObject[] } {
  const sinceCommits = from.sinceCommits + 1;
  const sinceChanges = from.sinceChanges + changeCount(changes);
  const joins = commit.parents.length !== 1 || commit.adopts !== undefined;
  const base = { commit: hash, time: timeOf(commit), snapshot: state.snapshot };
  if (!joins && sinceCommits < STORE_AFTER_COMMITS && sinceChanges < STORE_AFTER_CHANGES) {
    const retiring = from.retiring?.durable === true ? null : from.retiring;
    return { head: { ...base, nodes: state.nodes, sinceCommits, sinceChanges, retiring }, stored: [] };
  }
  // A state that was edited from one that an earlier transaction stores, which this one can't overtake, has made its own
  // nodes since. One that takes another commit's trees may need any node of the older layers.
  const underWay = !joins && from.retiring?.durable === false ? from.retiring.layers : [];
  const layers = state.nodes.layers.filter((layer) => !underWay.includes(layer));
  const { objects, nodes } = treesToStore(state.snapshot, layers);
  const retiring = { layers: state.nodes.layers, nodes, durable: false };
  const head = { ...base, nodes: state.nodes.withNewLayer(), sinceCommits: 0, sinceChanges: 0, retiring };
  return { head, stored: objects };
}

/** The state of a rewind: another commit's keys and vectors under the branch's contract. */
export function adopted(parent: Head, other: Head): Applied {
  return {
    snapshot: { ...other.snapshot, contract: parent.snapshot.contract },
    nodes: other.nodes.over(parent.nodes.layers),
  };
}

/** The snapshot, and those nodes of its trees that are in these layers: all others are stored already. */
export function treesToStore(
  snapshot: Snapshot,
  layers: readonly FreshNodes[],
): { objects: StoredObject[]; nodes: Map<Hash, PackedNode> } {
  const objects: StoredObject[] = [];
  const nodes = new Map<Hash, PackedNode>();
  const take = (hash: Hash): void => {
    if (nodes.has(hash)) return;
    let fresh: PackedNode | undefined;
    for (let i = 0; i < layers.length && fresh === undefined; i++) fresh = layers[i]?.get(hash);
    if (fresh === undefined) return;
    nodes.set(hash, fresh);
    objects.push({ kind: "node", hash, bytes: fresh.settle().bytes, lineage: fresh.lineage });
    for (const child of fresh.changedChildren()) take(child);
  };
  if (snapshot.kv !== null) take(snapshot.kv);
  if (snapshot.vectors !== null) take(snapshot.vectors);
  objects.push({ kind: "snapshot", hash: hashSnapshot(snapshot), bytes: Buffer.from(encodeSnapshot(snapshot)) });
  return { objects, nodes };
}
