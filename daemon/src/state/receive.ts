import {
  type AgentName,
  asBuffer,
  type Changes,
  type Commit,
  decodeCommit,
  decodeContract,
  encodeCommit,
  type Hash,
  hashSnapshot,
  INLINE_CHANGES,
  changeCount,
  parseCanonicalJson,
  parseChanges,
  type Snapshot,
} from "@vlinder/protocol";
import type { Note, ObjectStorage, StoredObject } from "../storage/object-storage.ts";
import { timeOf } from "./ancestry.ts";
import type { Beside } from "./api.ts";
import { adopted, advance, type Head, type LayeredNodes, reapplyChanges } from "./head.ts";
import type { Heads } from "./heads.ts";
import { bad, Intake, missing } from "./intake.ts";
import { naming, type Objects, valueKind } from "./objects.ts";
import { decodeErased, ERASED, type Erased, type ErasedValue } from "./retention/erased.ts";
import type { Watch } from "./retention/watch.ts";

/** Commits that are checked and stored together. */
const SLICE = 256;
/** Bytes of values that are stored together, and how many such slices are on the way at once. */
const SLICE_BYTES = 4 << 20;
const UNDER_WAY = 2;
/** States that are kept at hand between slices. */
const KEPT_STATES = 64;

function* slicesOf(objects: readonly StoredObject[]): Generator<StoredObject[]> {
  let slice: StoredObject[] = [];
  let bytes = 0;
  for (const object of objects) {
    slice.push(object);
    bytes += object.bytes.length;
    if (bytes < SLICE_BYTES) continue;
    yield slice;
    slice = [];
    bytes = 0;
  }
  if (slice.length > 0) yield slice;
}

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
    { earlier, onValues = () => {} }: Beside = {},
  ): Promise<{ commits: number; objects: number }> {
    const intake = new Intake(this.#storage, this.#watch, earlier);
    for (const object of objects) intake.add(object);
    await intake.checkLists();
    for (const [commit, values] of await this.#erasuresIn(objects, intake)) this.#erasures.set(commit, values);
    await this.#announce(erasures);

    // Nodes and snapshots are those that are computed here: what came along served only the check.
    const others = objects.filter(({ kind }) => kind !== "commit" && kind !== "node" && kind !== "snapshot");
    // Erasures that an earlier call is still bringing are carried out behind this one.
    const back = this.#erased.cameBack(new Set(others.map(({ hash }) => hash)));
    const values = this.#storeValues(others, back, onValues);
    values.catch(() => {}); // told below
    try {
      await earlier;
      return await this.#commits(objects, intake, values);
    } finally {
      await values;
    }
  }

  /** Checks and stores the commits; the checks go on while what they need is being stored. */
  async #commits(
    objects: readonly StoredObject[],
    intake: Intake,
    values: Promise<void>,
  ): Promise<{ commits: number; objects: number }> {
    const states = new Map<Hash, Head>();
    let commits = 0;
    let store: StoredObject[] = [];
    for (const object of objects) {
      if (object.kind !== "commit" || (await this.#objects.findCommit(object.hash)) !== null) continue;
      store.push(object, ...(await this.#commit(object, intake, states)));
      commits++;
      if (commits % SLICE > 0) continue;
      await values;
      await this.#store(store, this.#notes.splice(0));
      store = [];
      settle(states);
    }
    await values;
    await this.#store(store, this.#notes.splice(0));
    return { commits, objects: objects.length };
  }

  /** In slices, so that little is on the way to the storage at once. `nearly`: the last of them are. */
  async #storeValues(objects: readonly StoredObject[], notes: Note[], nearly: () => void): Promise<void> {
    const underWay: Promise<void>[] = [];
    try {
      for (const slice of slicesOf(objects)) {
        if (underWay.length === UNDER_WAY) await underWay.shift();
        const stored = this.#store(slice, notes.splice(0));
        stored.catch(() => {}); // told below
        underWay.push(stored);
      }
    } finally {
      nearly();
      // A collection waits for this: nothing may come to the storage behind it.
      await Promise.allSettled(underWay);
    }
    await Promise.all(underWay);
  }

  async #store(objects: readonly StoredObject[], notes: readonly Note[]): Promise<void> {
    if (objects.length === 0) return;
    for (const { kind, hash } of objects) this.#watch.object(kind, hash);
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
      state = await reapplyChanges(parent, changes, commit);
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
