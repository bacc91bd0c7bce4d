import {
  type Changes,
  type ChunkList,
  CHUNKED_OVER,
  type Commit,
  decodeChunkList,
  decodeCommit,
  decodeSnapshot,
  decodeTreeNode,
  type Hash,
  parseCanonicalJson,
  parseChanges,
  sha256,
  sha256Of,
  type Snapshot,
  type TreeNode,
  VlinderError,
} from "@vlinder/protocol";
import type { Kind, ObjectStorage } from "../storage/object-storage.ts";
import type { NodeReader } from "./tree/node-reader.ts";
import { TwoGenerations } from "./two-generations.ts";

/** Nodes, decoded, for all agents of the process. About 1 KB each: at most about 60 MB. */
const nodeCache = new TwoGenerations<Hash, TreeNode>(30_000);

/** What should be in the storage and is not, or is not what its hash says. */
export class DamagedObject extends VlinderError {
  readonly kind: Kind;
  readonly hash: Hash;
  readonly problem: "missing" | "damaged";
  constructor(kind: Kind, hash: Hash, problem: "missing" | "damaged", cause?: unknown) {
    super("internal", `the ${kind} ${hash} is ${problem} in the storage`, {
      details: { kind, hash, problem },
      remedy: "run `vlinder verify` for the whole damage; `vlinder sync pull` or `clone` brings back what a bucket has",
      ...(cause === undefined ? {} : { cause }),
    });
    this.kind = kind;
    this.hash = hash;
    this.problem = problem;
  }
}

/** The kind under which a value of this size is stored. */
export function valueKind(size: number): "value" | "list" {
  return size > CHUNKED_OVER ? "list" : "value";
}

/** Typed, checked reads of one agent's objects. Everything read is hashed before it is believed. */
export class Objects implements NodeReader {
  readonly #storage: ObjectStorage;
  readonly #commits = new TwoGenerations<Hash, Commit>(4096);
  readonly #snapshots = new TwoGenerations<Hash, Snapshot>(1024);

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  async #bytes(kind: Kind, hash: Hash): Promise<Uint8Array | null> {
    const [bytes] = await this.#storage.read(kind, [hash]);
    if (bytes === undefined || bytes === null) return null;
    if (kind !== "list" && sha256(bytes) !== hash) throw new DamagedObject(kind, hash, "damaged");
    return bytes;
  }

  async #required(kind: Kind, hash: Hash): Promise<Uint8Array> {
    const bytes = await this.#bytes(kind, hash);
    if (bytes === null) throw new DamagedObject(kind, hash, "missing");
    return bytes;
  }

  node(hash: Hash): TreeNode | Promise<TreeNode> {
    return nodeCache.get(hash) ?? this.#readNode(hash);
  }

  /** A node that was just stored: it is likely to be read next. */
  static rememberNode(hash: Hash, node: TreeNode): void {
    nodeCache.set(hash, node);
  }

  async #readNode(hash: Hash): Promise<TreeNode> {
    const node = decodeTreeNode(await this.#required("node", hash));
    nodeCache.set(hash, node);
    return node;
  }

  /** The commit, or null when it is not here. */
  async findCommit(hash: Hash): Promise<Commit | null> {
    const known = this.#commits.get(hash);
    if (known !== undefined) return known;
    const bytes = await this.#bytes("commit", hash);
    if (bytes === null) return null;
    const commit = decodeCommit(bytes);
    this.#commits.set(hash, commit);
    return commit;
  }

  async commit(hash: Hash): Promise<Commit> {
    const commit = await this.findCommit(hash);
    if (commit === null) throw new DamagedObject("commit", hash, "missing");
    return commit;
  }

  commitBytes(hash: Hash): Promise<Uint8Array> {
    return this.#required("commit", hash);
  }

  /** They were removed from the storage: nothing of them may come from memory. */
  forget(kind: Kind, hashes: readonly Hash[]): void {
    if (kind !== "snapshot") return;
    for (const hash of hashes) this.#snapshots.delete(hash);
  }

  /** The snapshot, when its trees are stored; else null. */
  async storedSnapshot(hash: Hash): Promise<Snapshot | null> {
    const known = this.#snapshots.get(hash);
    if (known !== undefined) return known;
    const bytes = await this.#bytes("snapshot", hash);
    if (bytes === null) return null;
    const snapshot = decodeSnapshot(bytes);
    this.#snapshots.set(hash, snapshot);
    return snapshot;
  }

  /** A commit's changes, from its change list where it has one. */
  async changesOf(commit: Commit): Promise<Changes> {
    const { changes } = commit;
    if (typeof changes !== "string") return changes ?? {};
    return parseChanges(parseCanonicalJson(await this.#required("changes", changes), "change list"));
  }

  /** A value's bytes; null when it is not here. Its hash is checked. */
  async value(hash: Hash, size: number): Promise<Uint8Array | null> {
    if (valueKind(size) === "value") return await this.#bytes("value", hash);
    const parts: Uint8Array[] = [];
    for await (const part of this.#parts(hash)) {
      if (part === null) return null;
      parts.push(part);
    }
    if (parts.length === 0) return null;
    if (sha256Of(parts) !== hash) throw new DamagedObject("list", hash, "damaged");
    return Buffer.concat(parts, size);
  }

  /** The chunks of a large value in order; null for one that is missing. */
  async *#parts(list: Hash): AsyncGenerator<Uint8Array | null> {
    for await (const { kind, hash } of this.partsOf(list)) {
      if (kind === "chunk") yield await this.#bytes("chunk", hash);
    }
  }

  /** The lists below a chunk list and its chunks, in order. Nothing when the list is not here. */
  async *partsOf(list: Hash): AsyncGenerator<{ kind: "list" | "chunk"; hash: Hash; size: number }> {
    const bytes = await this.#bytes("list", list);
    if (bytes === null) return;
    const { level, parts } = this.#decodeList(list, bytes);
    for (const { hash, size } of parts) {
      if (level === 1) {
        yield { kind: "chunk", hash, size };
      } else {
        yield { kind: "list", hash, size };
        yield* this.partsOf(hash);
      }
    }
  }

  /** A list's hash is not that of its bytes: only its form tells at once that it is damaged. */
  #decodeList(hash: Hash, bytes: Uint8Array): ChunkList {
    try {
      return decodeChunkList(bytes);
    } catch (cause) {
      throw new DamagedObject("list", hash, "damaged", cause);
    }
  }

  async requiredValue(hash: Hash, size: number): Promise<Uint8Array> {
    const bytes = await this.value(hash, size);
    if (bytes === null) throw new DamagedObject(valueKind(size), hash, "missing");
    return bytes;
  }
}
