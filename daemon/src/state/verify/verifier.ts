import {
  asBuffer,
  type Changes,
  type Commit,
  decodeCommit,
  decodeTreeNode,
  encodeCommit,
  encodeTreeNode,
  type Hash,
  type Key,
  parseCanonicalJson,
  parseChanges,
  type TreeNode,
} from "@vlinder/protocol";
import type { ObjectReader, Usage } from "../../storage/object-storage.ts";
import type { Head } from "../head.ts";
import { valueKind } from "../objects.ts";
import { Pruned } from "../retention/pruned.ts";
import { CheckedObjects, type Standing } from "./checked-objects.ts";
import { Findings } from "./findings.ts";
import { type Flaw, flaw, flawOf } from "./flaw.ts";
import { LargeValues } from "./large-values.ts";
import type { Step } from "./pace.ts";
import { DROPPED, isSnapshotOf, Lost, NodeNotGood, type State, States } from "./states.ts";

/** What is not there on purpose. */
export interface Gone {
  /** Commits whose states retention dropped: hashes, 32 bytes each, in order. */
  readonly dropped: Uint8Array;
  /** Values that were erased. */
  readonly erased: ReadonlySet<Hash>;
}

/**
 * Checks commits, one at a time, parents before children: that what each needs is there and intact, and that its
 * changes give, from its parent's state, the snapshot that it names. As every value of a state came with the changes of some commit, and
 * every node of a stored tree is one that was computed or belongs to a tree that was looked at before, no stored node has to be opened:
 * it is enough that the bytes which lie under its hash have this hash. Only behind a damage, where states can't be
 * computed any more, a stored tree is walked.
 */
export class Verifier {
  readonly objects: CheckedObjects;
  readonly findings = new Findings();
  /** Commits that were checked. */
  commits = 0;
  readonly #states: States;
  readonly #large: LargeValues;
  readonly #step: Step;
  readonly #pruned: Pruned;
  readonly #erased: ReadonlySet<Hash>;

  /** @param counts how many objects there are, when all of them are to be looked at */
  constructor(reader: ObjectReader, counts: Usage["counts"] | null, gone: Gone, step: Step) {
    this.#pruned = Pruned.of(gone.dropped);
    this.#erased = gone.erased;
    this.objects = new CheckedObjects(reader, counts);
    this.#states = new States(this.objects);
    this.#large = new LargeValues(this.objects, step);
    this.#step = step;
  }

  /** A commit, read; `child` is what needs it. */
  async commit(hash: Hash, child: Hash): Promise<Commit | Lost> {
    const { standing, bytes } = await this.objects.read("commit", hash);
    return bytes === null ? this.#lost(flawOf("commit", hash, standing), child) : this.decode(hash, bytes);
  }

  /** A commit from bytes that have its hash. */
  decode(hash: Hash, bytes: Uint8Array): Commit | Lost {
    let message = "it is not canonical";
    try {
      const commit = decodeCommit(bytes);
      if (encodeCommit(commit) === asBuffer(bytes).toString("utf8")) return commit;
    } catch (error) {
      message = error instanceof Error ? error.message : String(error);
    }
    return this.#lost(flaw("commit", hash, "damaged", message), hash);
  }

  /** Checks one commit; those that its state is computed from have been checked before. */
  async check(hash: Hash, commit: Commit): Promise<State> {
    this.commits++;
    if (this.#pruned.covers(hash)) return await this.#checkDropped(hash, commit);
    const changes = await this.#checkValues(hash, commit);
    let state = await this.#compute(hash, commit, changes);
    // Bytes that were read are worth more than a state that can't be computed.
    const standing = await this.objects.standing("snapshot", commit.snapshot);
    if (standing === "good") {
      await this.objects.reach("snapshot", commit.snapshot);
      state = state instanceof Lost ? ((await this.#walkStored(hash, commit)) ?? state) : await this.#settle(state);
    } else if (standing !== "missing") {
      // Without it nothing is lost: the state is computed.
      this.findings.note(
        flawOf("snapshot", commit.snapshot, await this.objects.reach("snapshot", commit.snapshot)),
        hash,
      );
    }
    if (state === DROPPED) state = this.#lacksTrees(hash, commit);
    if (state instanceof Lost) state.finding?.affect(hash, []);
    else if (this.#states.isOverdue(state)) state = await this.#states.settle(state, null);
    return state;
  }

  /** Of a commit whose state retention dropped, its changes stay, and what an erasure erased. */
  async #checkDropped(hash: Hash, commit: Commit): Promise<State> {
    if (commit.event.kind === "erase") await this.#checkEvent(hash, commit);
    await this.#changes(hash, commit);
    return DROPPED;
  }

  /** A state that would be computed from one that was dropped has trees of its own. */
  #lacksTrees(hash: Hash, { snapshot }: Commit): Lost {
    return this.#lost(flawOf("snapshot", snapshot, "missing"), hash);
  }

  /** Values that were looked at. */
  get values(): number {
    return this.objects.reached("value") + this.#large.count;
  }

  keep(hash: Hash, state: State): void {
    this.#states.keep(hash, state);
  }

  release(hash: Hash): void {
    this.#states.release(hash);
  }

  /** The state of one commit: its trees and its values, all read. */
  async state(hash: Hash): Promise<void> {
    const commit = await this.commit(hash, hash);
    if (commit instanceof Lost) return;
    this.commits++;
    await this.#checkEvent(hash, commit);
    let state = await this.#rebuilt(hash, commit);
    if (state === DROPPED) state = this.#lacksTrees(hash, commit);
    if (state instanceof Lost) state.finding?.affect(hash, []);
    else await this.#walk(state, hash, false);
  }

  async #checkEvent(hash: Hash, { event }: Commit): Promise<void> {
    for (const [name, [value, size]] of Object.entries(event.values ?? {})) {
      await this.#value(value, size, hash, `(${name})`);
    }
  }

  async #checkValues(hash: Hash, commit: Commit): Promise<Changes | Lost> {
    await this.#checkEvent(hash, commit);
    const changes = await this.#changes(hash, commit);
    if (changes instanceof Lost) return changes;
    for (const list of [changes.kv, changes.vectors]) {
      for (const [key, value, size] of list ?? []) {
        const checked = value === null ? undefined : this.#value(value, size, hash, key);
        if (checked !== undefined) await checked;
      }
    }
    if (changes.contract !== undefined) await this.#value(changes.contract, 0, hash, "(contract)");
    return changes;
  }

  async #changes(hash: Hash, { changes }: Commit): Promise<Changes | Lost> {
    if (typeof changes !== "string") return changes ?? {};
    const { standing, bytes } = await this.objects.read("changes", changes);
    if (bytes === null) return this.#lost(flawOf("changes", changes, standing), hash);
    try {
      return parseChanges(parseCanonicalJson(bytes, "change list"));
    } catch {
      return this.#lost(flaw("changes", changes, "damaged", "it is no change list"), hash);
    }
  }

  /** The state after a commit, from its parent's. */
  async #compute(hash: Hash, commit: Commit, changes: Changes | Lost): Promise<State> {
    for (const second of commit.parents.slice(1)) {
      const standing = await this.objects.standing("commit", second);
      if (standing !== "good") this.findings.note(flawOf("commit", second, standing), hash);
    }
    const parent = await this.#stateOf(commit.parents[0], hash);
    if (changes instanceof Lost) return changes;
    if (parent instanceof Lost) return parent;
    try {
      let state: Head;
      if (commit.adopts === undefined) {
        state = await this.#states.after(parent, changes, hash, commit);
      } else {
        const other = await this.#stateOf(commit.adopts, hash);
        if (other instanceof Lost) return other;
        state = this.#states.adopting(parent, other, hash, commit);
      }
      if (isSnapshotOf(state, commit)) return state;
    } catch (error) {
      if (!(error instanceof NodeNotGood)) throw error;
      return this.#lost(flawOf("node", error.hash, error.standing), hash);
    }
    return this.#lost(flaw("commit", hash, "wrong", "its changes do not give the snapshot that it names"), hash);
  }

  async #stateOf(hash: Hash | undefined, child: Hash): Promise<State> {
    if (hash === undefined) return this.#states.empty;
    const kept = this.#states.get(hash);
    if (kept !== undefined) return kept;
    if (this.#pruned.covers(hash)) return DROPPED;
    const commit = await this.commit(hash, child);
    const state = commit instanceof Lost ? commit : await this.#rebuilt(hash, commit);
    this.#states.keep(hash, state);
    return state;
  }

  /** A state that is not at hand, from the last stored one before it. */
  async #rebuilt(hash: Hash, commit: Commit): Promise<State> {
    const replay = [{ hash, commit }];
    let state = await this.#stored(hash, commit);
    if (state !== undefined) return state;
    let base: State | undefined;
    while (base === undefined) {
      const child = replay.at(-1) as (typeof replay)[number];
      const first = child.commit.parents[0];
      base = first === undefined ? this.#states.empty : this.#states.get(first);
      if (base !== undefined || first === undefined) break;
      if (this.#pruned.covers(first)) return DROPPED;
      const parent = await this.commit(first, child.hash);
      if (parent instanceof Lost) return parent;
      base = await this.#stored(first, parent);
      if (base === undefined) replay.push({ hash: first, commit: parent });
      else this.#states.keep(first, base);
    }
    for (const next of replay.reverse()) {
      const computed = await this.#compute(next.hash, next.commit, await this.#changes(next.hash, next.commit));
      if (computed instanceof Lost) return computed;
      this.#states.keep(next.hash, computed);
      state = computed;
    }
    return state as Head;
  }

  /** The state whose trees are stored for a commit; undefined where they are not, or are no use. */
  async #stored(hash: Hash, commit: Commit): Promise<Head | undefined> {
    const { standing, bytes } = await this.objects.read("snapshot", commit.snapshot);
    if (bytes === null) {
      if (standing !== "missing") this.findings.note(flawOf("snapshot", commit.snapshot, standing), hash);
      return undefined;
    }
    try {
      return this.#states.stored(hash, commit, bytes);
    } catch {
      this.findings.note(flaw("snapshot", commit.snapshot, "damaged", "it is no snapshot"), hash);
      return undefined;
    }
  }

  /** All nodes of a state whose trees are stored have to be there. */
  #settle(state: Head): Promise<Head> {
    return this.#states.settle(state, (hash, node, standing) => {
      this.findings.note(flawOf("node", hash, standing), state.commit, ...node.layout().keys);
    });
  }

  /** Goes on behind a damage from trees that are stored; null when they are damaged, too. */
  async #walkStored(hash: Hash, commit: Commit): Promise<Head | null> {
    const state = await this.#stored(hash, commit);
    if (state === undefined) return null;
    return (await this.#walk(state, hash, true)) ? state : null;
  }

  /**
   * Looks at all that a state holds; false when nodes of it are not good. `onlyNew`: what is below a node that was reached
   * before has been looked at. (Of one state alone it has not: a node may have been read only to compute it.)
   */
  async #walk({ snapshot, nodes }: Head, commit: Hash, onlyNew: boolean): Promise<boolean> {
    if (snapshot.contract !== null) await this.#value(snapshot.contract, 0, commit, "(contract)");
    let isWhole = true;
    const open = [snapshot.kv, snapshot.vectors].flatMap((root) =>
      root === null ? [] : [{ hash: root, keys: [] as Key[] }],
    );
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { hash, keys } = next;
      let node: TreeNode | undefined = nodes.layers
        .find((layer) => layer.has(hash))
        ?.get(hash)
        ?.unpacked();
      if (node === undefined) {
        if (onlyNew && this.objects.isReached("node", hash) && (await this.objects.standing("node", hash)) === "good")
          continue;
        const { standing, bytes } = await this.objects.read("node", hash);
        node = this.#decodeNode(hash, standing, bytes, commit, keys) ?? undefined;
      }
      isWhole &&= node !== undefined;
      for (const [i, child] of (node?.hashes ?? []).entries()) {
        const key = node?.keys[i] as Key;
        if (node?.level !== 0) open.push({ hash: child, keys: [key] });
        else await this.#value(child, node.sizes[i] as number, commit, key);
      }
      await this.#step(0);
    }
    return isWhole;
  }

  #decodeNode(
    hash: Hash,
    standing: Standing,
    bytes: Uint8Array | null,
    commit: Hash,
    keys: readonly Key[],
  ): TreeNode | null {
    if (bytes === null) {
      this.findings.note(flawOf("node", hash, standing), commit, ...keys);
      return null;
    }
    try {
      const node = decodeTreeNode(bytes);
      if (Buffer.compare(encodeTreeNode(node), bytes) === 0) return node;
    } catch {
      // Bytes that have their hash and are no node: as one that is spelled otherwise.
    }
    this.findings.note(flaw("node", hash, "damaged", "it is not canonical"), commit, ...keys);
    return null;
  }

  /** Checks that a value is there and intact. */
  #value(hash: Hash, size: number, commit: Hash, key: string): Promise<void> | void {
    const kind = valueKind(size);
    if (kind === "list") return this.#largeValue(hash, commit, key);
    const standing = this.objects.reach(kind, hash);
    if (standing instanceof Promise) return standing.then((found) => this.#noteValue(hash, found, commit, key));
    this.#noteValue(hash, standing, commit, key);
  }

  #noteValue(hash: Hash, standing: Standing, commit: Hash, key: string): void {
    if (standing === "missing" && this.#erased.has(hash)) return;
    if (standing !== "good") this.findings.note(flawOf("value", hash, standing), commit, key);
  }

  async #largeValue(hash: Hash, commit: Hash, key: string): Promise<void> {
    for (const flaw of await this.#large.flaws(hash)) {
      if (flaw.problem !== "missing" || !this.#erased.has(hash)) this.findings.note(flaw, commit, key);
    }
  }

  #lost(what: Flaw, commit: Hash): Lost {
    return new Lost(this.findings.note(what, commit));
  }
}
