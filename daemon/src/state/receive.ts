import {
  type AgentName,
  asBuffer,
  type Changes,
  type ChunkList,
  type Commit,
  decodeChunkList,
  decodeCommit,
  decodeContract,
  decodeSnapshot,
  decodeTreeNode,
  encodeCommit,
  encodeTreeNode,
  type Hash,
  hashSnapshot,
  invalid,
  INLINE_CHANGES,
  LIMITS,
  changeCount,
  parseCanonicalJson,
  parseChanges,
  sha256,
  type Snapshot,
} from "@vlinder/protocol";
import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Kind, Note, ObjectStorage, StoredObject } from "../storage/object-storage.ts";
import { timeOf } from "./ancestry.ts";
import { adopted, advance, applyChanges, type Head, type LayeredNodes } from "./head.ts";
import { HashedObject } from "./hashed-object.ts";
import type { Heads } from "./heads.ts";
import { naming, type Objects, valueKind } from "./objects.ts";
import { decodeErased, ERASED, type Erased, type ErasedValue } from "./retention/erased.ts";
import type { Watch } from "./retention/watch.ts";

/** Commits that are checked and stored together. */
const SLICE = 256;
/** States that are kept at hand between slices. */
const KEPT_STATES = 64;

/** What was computed so far is stored: only the newest states are likely to be built on. */
function settle(states: Map<Hash, Head>): void {
  let surplus = states.size - KEPT_STATES;
  for (const [hash, head] of states) {
    if (head.retiring !== null) head.retiring.durable = true;
    if (surplus-- > 0) states.delete(hash);
  }
}

/**
 * Takes objects from outside and believes nothing: every hash is computed, every form must be
 * canonical, a commit's parents and values must be here, and its changes must give its snapshot.
 * A commit is stored only with all of its history, so one that is in the storage needs no second look.
 */
export class Receiver {
  readonly #agent: AgentName;
  readonly #storage: ObjectStorage;
  readonly #objects: Objects;
  readonly #heads: Heads;
  readonly #erased: Erased;
  readonly #watch: Watch;
  /** Erasures that came along, by their commits; they are to be stored with them. */
  readonly #erasures = new Map<Hash, ErasedValue[]>();
  /** Values that erasures list which are still to come. */
  readonly #announced = new Set<Hash>();
  #notes: Note[] = [];

  constructor(agent: AgentName, storage: ObjectStorage, objects: Objects, heads: Heads, erased: Erased, watch: Watch) {
    this.#agent = agent;
    this.#storage = storage;
    this.#objects = objects;
    this.#heads = heads;
    this.#erased = erased;
    this.#watch = watch;
  }

  async receive(
    objects: readonly StoredObject[],
    erasures: readonly StoredObject[],
  ): Promise<{ commits: number; objects: number }> {
    const intake = new Intake(this.#storage, this.#watch);
    for (const object of objects) intake.add(object);
    await intake.checkLists();
    for (const [commit, values] of await this.#erasuresIn(objects, intake)) this.#erasures.set(commit, values);
    await this.#announce(erasures);

    // Nodes and snapshots are those that are computed here: what came along served only the check.
    const others = objects.filter(({ kind }) => kind !== "commit" && kind !== "node" && kind !== "snapshot");
    this.#notes.push(...this.#erased.cameBack(new Set(others.map(({ hash }) => hash))));
    await this.#store(others);
    const states = new Map<Hash, Head>();
    let commits = 0;
    let store: StoredObject[] = [];
    for (const object of objects) {
      if (object.kind !== "commit" || (await this.#objects.findCommit(object.hash)) !== null) continue;
      store.push(object, ...(await this.#commit(object, intake, states)));
      commits++;
      if (commits % SLICE > 0) continue;
      await this.#store(store);
      store = [];
      settle(states);
    }
    await this.#store(store);
    return { commits, objects: objects.length };
  }

  async #store(objects: readonly StoredObject[]): Promise<void> {
    if (objects.length === 0) return;
    for (const { kind, hash } of objects) this.#watch.object(kind, hash);
    const notes = this.#notes;
    this.#notes = [];
    await this.#storage.apply({ objects, branches: [], replies: [], notes });
    for (const { kind, hash } of objects) {
      const values = kind === "commit" ? this.#erasures.get(hash) : undefined;
      if (values !== undefined) this.#erased.settle(hash, values);
    }
  }

  /** What was erased elsewhere is missing in commits before the one that says so. */
  async #erasuresIn(objects: readonly StoredObject[], intake: Intake): Promise<Map<Hash, ErasedValue[]>> {
    const erasures = new Map<Hash, ErasedValue[]>();
    for (const { kind, hash, bytes } of objects) {
      if (kind !== "commit" || !asBuffer(bytes).includes('"kind":"erase"')) continue;
      const { event } = decodeCommit(bytes);
      const list = event.kind === "erase" ? event.values?.[ERASED] : undefined;
      const found = list === undefined ? null : await intake.value(...list);
      if (found !== null) erasures.set(hash, decodeErased(found));
    }
    return erasures;
  }

  async #announce(objects: readonly StoredObject[]): Promise<void> {
    const intake = new Intake(this.#storage, this.#watch);
    for (const object of objects) intake.add(object);
    await intake.checkLists();
    for (const values of (await this.#erasuresIn(objects, intake)).values()) {
      for (const { hash } of values) this.#announced.add(hash);
    }
  }

  #isErased(hash: Hash): boolean {
    if (this.#erased.has(hash) || this.#announced.has(hash)) return true;
    return [...this.#erasures.values()].some((values) => values.some((value) => value.hash === hash));
  }

  /** Checks one commit against its parents' state; returns the tree objects that it stores. */
  async #commit(object: StoredObject, intake: Intake, states: Map<Hash, Head>): Promise<StoredObject[]> {
    const { hash, bytes } = object;
    const commit = naming("commit", hash, () => decodeCommit(bytes));
    if (Buffer.compare(Buffer.from(encodeCommit(commit)), bytes) !== 0)
      throw bad("commit", hash, "it is not canonical");
    if (commit.agent !== this.#agent) throw bad("commit", hash, `it belongs to the agent "${commit.agent}"`);

    for (const parent of commit.parents) {
      const time = states.get(parent)?.time ?? (await this.#storedTime(parent));
      if (time === null) throw missing("commit", hash, "parent", { kind: "commit", hash: parent });
      if (timeOf(commit) < time) throw bad("commit", hash, `it is older than its parent ${parent}`);
    }

    const changes = await this.#changes(commit, hash, intake);
    await this.#checkValues(commit, changes, hash, intake);
    const first = commit.parents[0];
    const stateAt = async (at: Hash): Promise<Head> => states.get(at) ?? (await this.#heads.at(at));
    const parent = first === undefined ? this.#heads.empty() : await stateAt(first);
    let state: { snapshot: Snapshot; nodes: LayeredNodes };
    if (commit.adopts === undefined) {
      state = await applyChanges(parent, changes);
    } else {
      const adopts = commit.adopts;
      if (!states.has(adopts) && (await this.#objects.findCommit(adopts)) === null) {
        throw bad("commit", hash, `the commit ${adopts} that it adopts is not here`);
      }
      state = adopted(parent, await stateAt(adopts));
    }
    if (hashSnapshot(state.snapshot) !== commit.snapshot) {
      throw bad("commit", hash, "its changes do not give the snapshot that it names");
    }
    const { head, stored } = advance(parent, hash, commit, changes, state);
    states.set(hash, head);
    const erasure = this.#erasures.get(hash);
    if (erasure !== undefined) this.#notes.push(...this.#erased.notes(hash, erasure));
    return stored;
  }

  async #storedTime(hash: Hash): Promise<string | null> {
    const commit = await this.#objects.findCommit(hash);
    return commit === null ? null : timeOf(commit);
  }

  async #changes(commit: Commit, hash: Hash, intake: Intake): Promise<Changes> {
    const { changes } = commit;
    if (typeof changes !== "string") {
      if (changes !== undefined && changeCount(changes) > INLINE_CHANGES) {
        throw bad("commit", hash, `it has more than ${INLINE_CHANGES} changes and no change list`);
      }
      if (changes !== undefined && changeCount(changes) === 0) throw bad("commit", hash, "its changes are empty");
      return changes ?? {};
    }
    const bytes = await intake.find("changes", changes);
    if (bytes === null) throw bad("commit", hash, `its change list ${changes} is not here`);
    const list = parseChanges(parseCanonicalJson(bytes, "change list"));
    if (changeCount(list) <= INLINE_CHANGES) throw bad("changes", changes, "it is too short to be a change list");
    return list;
  }

  async #checkValues(commit: Commit, changes: Changes, hash: Hash, intake: Intake): Promise<void> {
    const needed: (readonly [hash: Hash, size: number])[] = Object.values(commit.event.values ?? {});
    for (const list of [changes.kv, changes.vectors]) {
      for (const [, value, size] of list ?? []) if (value !== null) needed.push([value, size]);
    }
    for (const [value, size] of needed) {
      const actual = await intake.sizeOf(value, size);
      if (actual === null && this.#isErased(value)) continue;
      if (actual === null) throw missing("commit", hash, "value", { kind: valueKind(size), hash: value });
      if (actual !== size)
        throw bad("commit", hash, `it gives its value ${value} a size of ${size} instead of ${actual}`);
    }
    if (changes.contract !== undefined) {
      const bytes = await intake.find("value", changes.contract);
      if (bytes === null) throw missing("commit", hash, "contract", { kind: "value", hash: changes.contract });
      if (decodeContract(bytes).name !== this.#agent) throw bad("commit", hash, "its contract is another agent's");
    }
  }
}

/** The objects of one call, over those in the storage. */
class Intake {
  readonly #storage: ObjectStorage;
  readonly #watch: Watch;
  readonly #objects = new Map<string, Uint8Array>();

  constructor(storage: ObjectStorage, watch: Watch) {
    this.#storage = storage;
    this.#watch = watch;
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
function missing(kind: Kind, hash: Hash, what: string, object: { readonly kind: Kind; readonly hash: Hash }): Error {
  return invalid(`the ${kind} ${hash} from outside is refused: its ${what} ${object.hash} is not here`, {
    details: { kind, hash, missing: object },
    remedy: "the sender or the bucket is damaged or hostile; nothing of it was stored",
  });
}

function bad(kind: Kind, hash: Hash, what: string): Error {
  return invalid(`the ${kind} ${hash} from outside is refused: ${what}`, {
    details: { kind, hash },
    remedy: "the sender or the bucket is damaged or hostile; nothing of it was stored",
  });
}
