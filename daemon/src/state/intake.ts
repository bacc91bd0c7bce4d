import {
  type ChunkList,
  decodeChunkList,
  decodeSnapshot,
  decodeTreeNode,
  encodeTreeNode,
  type Hash,
  invalid,
  LIMITS,
  parseCanonicalJson,
  parseChanges,
  sha256,
} from "@vlinder/protocol";
import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Kind, ObjectStorage, StoredObject } from "../storage/object-storage.ts";
import { HashedObject } from "./hashed-object.ts";
import { naming, valueKind } from "./objects.ts";
import type { Watch } from "./retention/watch.ts";

/** The objects of one call, over those in the storage, and those that an earlier call is still bringing there. */
export class Intake {
  readonly #storage: ObjectStorage;
  readonly #watch: Watch;
  readonly #earlier: Promise<void> | undefined;
  readonly #objects = new Map<string, Uint8Array>();

  constructor(storage: ObjectStorage, watch: Watch, earlier?: Promise<void>) {
    this.#storage = storage;
    this.#watch = watch;
    this.#earlier = earlier;
  }

  /** Checks what can be checked of an object by itself. */
  add(object: StoredObject): void {
    const { kind, hash, bytes } = object;
    if (kind !== "list" && !(object instanceof HashedObject) && sha256(bytes) !== hash)
      throw bad(kind, hash, "its bytes have another hash");
    if (kind === "node") {
      const node = naming(kind, hash, () => decodeTreeNode(bytes));
      if (Buffer.compare(encodeTreeNode(node), bytes) !== 0) throw bad(kind, hash, "it is not canonical");
    }
    if (kind === "snapshot") naming(kind, hash, () => decodeSnapshot(bytes));
    if (kind === "changes") naming(kind, hash, () => parseChanges(parseCanonicalJson(bytes, "change list")));
    // A list's name does not fix its bytes: of two, the one that is not looked at might be stored.
    const earlier = this.#objects.get(`${kind} ${hash}`);
    if (kind === "list" && earlier !== undefined && Buffer.compare(earlier, bytes) !== 0) {
      throw bad(kind, hash, "it came twice, and not the same");
    }
    this.#objects.set(`${kind} ${hash}`, bytes);
  }

  async find(kind: Kind, hash: Hash): Promise<Uint8Array | null> {
    const here = this.#objects.get(`${kind} ${hash}`);
    if (here !== undefined) return here;
    const stored = await this.#stored(kind, hash);
    if (stored !== null || this.#earlier === undefined) return stored;
    await this.#earlier;
    return this.#stored(kind, hash);
  }

  async #stored(kind: Kind, hash: Hash): Promise<Uint8Array | null> {
    if (this.#watch.isCondemned(kind, hash)) return null;
    // Before it is read: it is relied on from now on, and may not be stored again.
    this.#watch.object(kind, hash);
    const [bytes] = await this.#storage.read(kind, [hash]);
    return bytes ?? null;
  }

  /** A value's bytes; null when they are not here. */
  async value(hash: Hash, size: number): Promise<Uint8Array | null> {
    const kind = valueKind(size);
    const bytes = await this.find(kind, hash);
    if (bytes === null || kind === "value") return bytes;
    const parts: Uint8Array[] = [];
    await this.#walk(bytes, hash, (part) => parts.push(part));
    return Buffer.concat(parts);
  }

  /** A top list lies under its value's hash: all the parts, one after another, must have it. */
  async checkLists(): Promise<void> {
    for (const [name, bytes] of this.#objects) {
      const [kind, hash] = name.split(" ") as [Kind, Hash];
      if (kind !== "list" || sha256(bytes) === hash) continue;
      const sum = createHash("sha256");
      const size = totalOf(decodeChunkList(bytes));
      // Lists of the same list name more than could ever be hashed.
      if (size > LIMITS.uploadBytes) throw bad("list", hash, `its ${size} bytes are more than a value may have`);
      await this.#walk(bytes, hash, (part) => sum.update(part));
      if (sum.digest("hex") !== hash) throw bad("list", hash, "its parts have another hash");
    }
  }

  async #walk(list: Uint8Array, hash: Hash, visit: (part: Uint8Array) => void): Promise<void> {
    const { level, parts } = naming("list", hash, () => decodeChunkList(list));
    // Reads may come back at once: what else is to be done must not wait for a gigabyte.
    await nextTurn();
    for (const part of parts) {
      const bytes = await this.find(level === 1 ? "chunk" : "list", part.hash);
      if (bytes === null)
        throw missing("list", hash, "part", { kind: level === 1 ? "chunk" : "list", hash: part.hash });
      if (level === 1) {
        if (bytes.length !== part.size) throw bad("list", hash, `the size of its part ${part.hash} is wrong`);
        visit(bytes);
      } else {
        const inner = decodeChunkList(bytes);
        if (inner.level !== level - 1) throw bad("list", hash, "its levels are wrong");
        if (totalOf(inner) !== part.size) throw bad("list", hash, `the size of its part ${part.hash} is wrong`);
        await this.#walk(bytes, hash, visit);
      }
    }
  }

  /** Bytes of a value that is here, stored as its size asks for; null when it is not. */
  async sizeOf(hash: Hash, size: number): Promise<number | null> {
    const kind = valueKind(size);
    const bytes = await this.find(kind, hash);
    if (bytes === null) return null;
    if (kind === "value") return bytes.length;
    // A list under its own hash is a part of another one: no value has this hash.
    if (sha256(bytes) === hash) return null;
    const list = decodeChunkList(bytes);
    return (await this.#isWhole(list)) ? totalOf(list) : null;
  }

  /** While a collection is under way a list may be here, and its parts may be going: each is looked for, and relied on. */
  async #isWhole({ level, parts }: ChunkList): Promise<boolean> {
    if (!this.#watch.isActive) return true;
    for (const { hash } of parts) {
      const bytes = await this.find(level === 1 ? "chunk" : "list", hash);
      if (bytes === null || (level > 1 && !(await this.#isWhole(decodeChunkList(bytes))))) return false;
    }
    return true;
  }
}

function totalOf(list: ChunkList): number {
  return list.parts.reduce((sum, part) => sum + part.size, 0);
}

/** `details.missing` says what would have to come along: who knows where it is can bring it. */
export function missing(
  kind: Kind,
  hash: Hash,
  what: string,
  object: { readonly kind: Kind; readonly hash: Hash },
): Error {
  return invalid(`the ${kind} ${hash} from outside is refused: its ${what} ${object.hash} is not here`, {
    details: { kind, hash, missing: object },
    remedy: "the sender or the bucket is damaged or hostile; nothing of it was stored",
  });
}

export function bad(kind: Kind, hash: Hash, what: string): Error {
  return invalid(`the ${kind} ${hash} from outside is refused: ${what}`, {
    details: { kind, hash },
    remedy: "the sender or the bucket is damaged or hostile; nothing of it was stored",
  });
}
