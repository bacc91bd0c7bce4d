import {
  type Changes,
  type ChunkList,
  CHUNKED_OVER,
  type Commit,
  decodeChunkList,
  decodeCommit,
  decodeSnapshot,
  type Hash,
  ownBuffer,
  parseCanonicalJson,
  parseChanges,
  sha256,
  sha256Of,
  type Snapshot,
  VlinderError,
} from "@vlinder/protocol";
import { type Neighbour, type Kind, Lineage, type ObjectStorage } from "../storage/object-storage.ts";
import { andThen } from "./and-then.ts";
import { chunksOf, inBatches } from "./chunk-walk.ts";
import type { FindObject } from "./find-object.ts";
import type { NodeReader } from "./tree/node-reader.ts";
import { nodeWeight, PackedNode } from "./tree/packed-node.ts";
import { TwoGenerations } from "./two-generations.ts";
import { ValueCache } from "./value-cache.ts";

/** Nodes, for all agents of the process; each generation has some 6,600 of usual keys. A state of 100,000 has 6,500. */
const nodeCache = new TwoGenerations<Hash, PackedNode>(8_000_000, nodeWeight);

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

/** Says of which object it is that its form is unknown or not good. */
export function naming<T>(kind: Kind, hash: Hash, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    if (!(cause instanceof VlinderError)) throw cause;
    const { code, message, remedy, details } = cause;
    throw new VlinderError(code, `the ${kind} ${hash}: ${message}`, {
      cause,
      details: { ...details, kind, hash },
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
}

/** The kind under which a value of this size is stored. */
export function valueKind(size: number): "value" | "list" {
  return size > CHUNKED_OVER ? "list" : "value";
}

/** Typed, checked reads of one agent's objects. Everything read is hashed before it is believed. */
export class Objects implements NodeReader {
  readonly #storage: ObjectStorage;
  readonly #commits = new TwoGenerations<Hash, Commit>(1024);
  /** Commits that were looked at lately: none is ever removed. */
  readonly #here = new TwoGenerations<Hash, true>(2048);
  readonly #snapshots = new TwoGenerations<Hash, Snapshot>(1024);
  readonly #values = new ValueCache();
  /** What was written together is likely to be read together. */
  readonly #offer: Neighbour = (hash, bytes) => this.#values.offer(hash, bytes);

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  /** At once where the storage can. */
  #bytes(
    kind: Kind,
    hash: Hash,
    unsaved?: FindObject,
    lineage?: Lineage,
    beside?: Neighbour,
  ): Uint8Array | null | Promise<Uint8Array | null> {
    const bytes = unsaved?.(kind, hash) ?? this.#storage.readNow?.(kind, hash, lineage, beside);
    if (bytes !== undefined) return checked(kind, hash, bytes);
    return this.#storage.read(kind, [hash]).then(([read = null]) => checked(kind, hash, read));
  }

  #required(kind: Kind, hash: Hash, lineage?: Lineage): Uint8Array | Promise<Uint8Array> {
    return andThen(this.#bytes(kind, hash, undefined, lineage), (bytes) => present(kind, hash, bytes));
  }

  node(hash: Hash): PackedNode | Promise<PackedNode> {
    const known = nodeCache.get(hash);
    if (known !== undefined) return known;
    const lineage = new Lineage(hash);
    return andThen(this.#required("node", hash, lineage), (bytes) => this.#remember(hash, bytes, lineage));
  }

  /** A node that was just stored: it is likely to be read next. */
  static rememberNode(hash: Hash, node: PackedNode): void {
    // The version before it is of use to readers of the past only, and would crowd out what heads need.
    if (node.lineage.stored !== null) nodeCache.delete(node.lineage.stored);
    node.stored(hash);
    nodeCache.set(hash, node);
  }

  /** A copy: what a backend gives may be a small part of a large buffer. */
  #remember(hash: Hash, bytes: Uint8Array, lineage: Lineage): PackedNode {
    const node = naming("node", hash, () => PackedNode.read(ownBuffer(bytes), lineage));
    nodeCache.set(hash, node);
    return node;
  }

  /** The commit, or null when it is not here. */
  async findCommit(hash: Hash): Promise<Commit | null> {
    const known = this.#commits.get(hash);
    if (known !== undefined) return known;
    const bytes = await this.#bytes("commit", hash);
    if (bytes === null) return null;
    const commit = naming("commit", hash, () => decodeCommit(bytes));
    this.#commits.set(hash, commit);
    return commit;
  }

  async commit(hash: Hash): Promise<Commit> {
    const commit = await this.findCommit(hash);
    if (commit === null) throw new DamagedObject("commit", hash, "missing");
    return commit;
  }

  async hasCommit(hash: Hash): Promise<boolean> {
    if (this.#here.get(hash) === undefined && (await this.#bytes("commit", hash)) === null) return false;
    this.#here.set(hash, true);
    return true;
  }

  async commitBytes(hash: Hash): Promise<Uint8Array> {
    return this.#required("commit", hash);
  }

  /** The same at once, where the storage can; null: it can't, or there is none. */
  commitBytesNow(hash: Hash): Uint8Array | null {
    const bytes = checked("commit", hash, this.#storage.readNow?.("commit", hash) ?? null);
    if (bytes !== null) this.#here.set(hash, true);
    return bytes;
  }

  /** They were removed from the storage: nothing of them may come from memory. */
  forget(kind: Kind, hashes: readonly Hash[]): void {
    const known = kind === "snapshot" ? this.#snapshots : this.#values;
    for (const hash of hashes) known.delete(hash);
  }

  /** The snapshot, when its trees are stored; else null. */
  storedSnapshot(hash: Hash): Snapshot | null | Promise<Snapshot | null> {
    const known = this.#snapshots.get(hash);
    if (known !== undefined) return known;
    return andThen(this.#bytes("snapshot", hash), (bytes) => {
      if (bytes === null) return null;
      const snapshot = naming("snapshot", hash, () => decodeSnapshot(bytes));
      this.#snapshots.set(hash, snapshot);
      return snapshot;
    });
  }

  /** A commit's changes, from its change list where it has one. */
  async changesOf(commit: Commit): Promise<Changes> {
    const { changes } = commit;
    if (typeof changes !== "string") return changes ?? {};
    const bytes = await this.#required("changes", changes);
    return naming("changes", changes, () => parseChanges(parseCanonicalJson(bytes, "change list")));
  }

  close(): void {
    this.#values.close();
  }

  /** A value's bytes; null when it is not here. Its hash is checked. At once where the storage can; what is in parts never is. */
  value(hash: Hash, size: number, unsaved?: FindObject): Uint8Array | null | Promise<Uint8Array | null> {
    return valueKind(size) === "list" ? this.#joined(hash, size, unsaved) : this.#bytes("value", hash, unsaved);
  }

  /** A value that an agent asks for, and is likely to ask for again: small ones stay in memory, and come at once. */
  askedValue(hash: Hash, size: number, unsaved?: FindObject): Uint8Array | Promise<Uint8Array> {
    const known = this.#values.get(hash) ?? unsaved?.("value", hash);
    if (known !== undefined) return known;
    if (valueKind(size) === "list") return this.requiredValue(hash, size, unsaved);
    return andThen(this.#bytes("value", hash, undefined, undefined, this.#offer), (read) => {
      const bytes = present("value", hash, read);
      this.#values.set(hash, bytes);
      return bytes;
    });
  }

  /** A value that is stored now: who wrote it is likely to read it. */
  rememberValue(hash: Hash, bytes: Uint8Array): void {
    this.#values.set(hash, bytes);
  }

  /** It was written over at a branch's head: other values need the memory more. */
  valueReplaced(hash: Hash): void {
    this.#values.yield(hash);
  }

  async #joined(hash: Hash, size: number, unsaved?: FindObject): Promise<Uint8Array | null> {
    const parts: Uint8Array[] = [];
    for await (const part of this.#parts(hash, 0, size, unsaved)) {
      if (part === null) return null;
      parts.push(part);
    }
    if (sha256Of(parts) !== hash) throw new DamagedObject("list", hash, "damaged");
    return Buffer.concat(parts, size);
  }

  /**
   * The bytes of a value from `start` to `end`, which is at most its size. Only what holds them is read, and
   * checked by its hash; that the parts are the value's, only a reading of the whole can tell. @throws DamagedObject
   */
  async range(hash: Hash, size: number, start: number, end: number, unsaved?: FindObject): Promise<Uint8Array> {
    if (valueKind(size) === "value") return (await this.requiredValue(hash, size, unsaved)).subarray(start, end);
    const parts: Uint8Array[] = [];
    for await (const part of this.#parts(hash, start, end, unsaved)) {
      if (part === null) throw new DamagedObject("list", hash, "missing");
      parts.push(part);
    }
    const bytes = Buffer.concat(parts);
    if (bytes.length !== end - start) throw new DamagedObject("list", hash, "damaged");
    return bytes;
  }

  /** What the chunks of a large value hold of a range, in order; null when a list or chunk is missing. */
  async *#parts(value: Hash, start: number, end: number, unsaved?: FindObject): AsyncGenerator<Uint8Array | null> {
    const list = async (hash: Hash, top: boolean): Promise<ChunkList | null> => {
      const bytes = await this.#bytes("list", hash, unsaved);
      if (bytes === null) return null;
      if (!top && sha256(bytes) !== hash) throw new DamagedObject("list", hash, "damaged");
      return this.#decodeList(hash, bytes);
    };
    for await (const places of inBatches(chunksOf(list, value, start, end))) {
      const wanted = places.filter((place) => place !== null);
      // Before the storage is asked: meanwhile it may be stored.
      const fresh = wanted.map(({ hash }) => unsaved?.("chunk", hash));
      const found = await this.#storage.read(
        "chunk",
        wanted.map(({ hash }) => hash),
      );
      for (const [i, { hash, size, at }] of wanted.entries()) {
        const chunk = fresh[i] ?? found[i] ?? null;
        if (chunk === null) yield null;
        else if (chunk.length !== size || sha256(chunk) !== hash) throw new DamagedObject("chunk", hash, "damaged");
        else yield chunk.subarray(Math.max(0, start - at), Math.min(size, end - at));
      }
      if (wanted.length < places.length) yield null;
    }
  }

  /** The lists below a chunk list and its chunks, in order. Nothing when the list is not here. */
  async *partsOf(
    list: Hash,
    unsaved?: FindObject,
  ): AsyncGenerator<{ kind: "list" | "chunk"; hash: Hash; size: number }> {
    const bytes = await this.#bytes("list", list, unsaved);
    if (bytes === null) return;
    const { level, parts } = this.#decodeList(list, bytes);
    for (const { hash, size } of parts) {
      if (level === 1) {
        yield { kind: "chunk", hash, size };
      } else {
        yield { kind: "list", hash, size };
        yield* this.partsOf(hash, unsaved);
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

  requiredValue(hash: Hash, size: number, unsaved?: FindObject): Uint8Array | Promise<Uint8Array> {
    return andThen(this.value(hash, size, unsaved), (bytes) => present(valueKind(size), hash, bytes));
  }
}

/** What the storage gave for a hash, held against it. (A list's is not that of its bytes.) */
function checked(kind: Kind, hash: Hash, bytes: Uint8Array | null): Uint8Array | null {
  if (bytes !== null && kind !== "list" && sha256(bytes) !== hash) throw new DamagedObject(kind, hash, "damaged");
  return bytes;
}

function present(kind: Kind, hash: Hash, bytes: Uint8Array | null): Uint8Array {
  if (bytes === null) throw new DamagedObject(kind, hash, "missing");
  return bytes;
}
