import { setImmediate as nextTurn } from "node:timers/promises";
import {
  asBuffer,
  type Changes,
  type ChunkList,
  type Commit,
  type Damage,
  decodeChunkList,
  decodeCommit,
  decodeSnapshot,
  decodeTreeNode,
  encodeCommit,
  encodeTreeNode,
  type Hash,
  hashSnapshot,
  keyText,
  type Key,
  parseCanonicalJson,
  parseChanges,
  sha256,
  type Snapshot,
} from "@vlinder/protocol";
import { createHash } from "node:crypto";
import type { Kind, ObjectStorage, StoredBranch } from "../storage/object-storage.ts";
import { adopted, applyChanges, emptyHead, type Head, LayeredNodes } from "./head.ts";
import { valueKind } from "./objects.ts";
import type { Erased } from "./retention/erased.ts";
import type { Pruned } from "./retention/pruned.ts";
import type { NodeReader } from "./tree/node-reader.ts";

export interface VerifyReport {
  readonly counts: { branches: number; commits: number; nodes: number; values: number };
  bytes: number;
  readonly damage: Damage[];
}

const EXAMPLES = 20;
const MISSING = "it is not in the storage";
const DAMAGED = "its bytes have another hash";
/** States kept at hand for the commits to come; older ones are rebuilt when a branch needs them. */
const KEPT_STATES = 256;

interface MutableDamage {
  kind: Damage["kind"];
  hash: Hash;
  problem: Damage["problem"];
  message: string;
  commits: Hash[];
  keys: string[];
}

/**
 * Hashes everything that is reachable, past every cache, and computes every commit's state from its
 * parent's to hold it against the snapshot that the commit names. What it finds is reported with
 * commits and keys that it affects; it goes on behind a damage as far as it can.
 */
export class Verifier implements NodeReader {
  readonly report: VerifyReport = { counts: { branches: 0, commits: 0, nodes: 0, values: 0 }, bytes: 0, damage: [] };
  readonly #storage: ObjectStorage;
  readonly #progress: (commits: number) => void;
  readonly #damaged = new Map<string, MutableDamage>();
  readonly #checked = new Set<string>();
  readonly #states = new Map<Hash, Head>();

  readonly #pruned: Pick<Pruned, "covers">;
  readonly #erased: Pick<Erased, "has">;

  constructor(
    storage: ObjectStorage,
    progress: (commits: number) => void = () => {},
    pruned: Pick<Pruned, "covers"> = { covers: () => false },
    erased: Pick<Erased, "has"> = { has: () => false },
  ) {
    this.#storage = storage;
    this.#progress = progress;
    this.#pruned = pruned;
    this.#erased = erased;
  }

  /** Everything that these branches reach. */
  async branches(branches: readonly StoredBranch[]): Promise<void> {
    const heads: Hash[] = [];
    for (const { head, name } of branches) {
      if (head === null) continue;
      this.report.counts.branches++;
      heads.push(head);
      const [bytes] = await this.#storage.read("commit", [head]);
      if (bytes == null)
        this.#note("branch", head, "missing", `the branch "${name}" points to a commit that is not here`, head);
    }
    await this.#commits(heads);
  }

  /** One state: its commit, its trees and its values. */
  async state(commit: Hash): Promise<void> {
    const found = await this.#commit(commit);
    if (found === null) return;
    const head = (await this.#stateOf(commit, found)) ?? (await this.#storedState(commit, found));
    if (head !== null) await this.#trees(head, commit);
  }

  /** Commits in an order where parents come first, each once. */
  async #commits(heads: readonly Hash[]): Promise<void> {
    const done = new Set<Hash>();
    const stack: { hash: Hash; commit: Commit | null; next: number }[] = [];
    for (const head of heads) {
      stack.push({ hash: head, commit: done.has(head) ? null : await this.#commit(head), next: 0 });
      for (let step = stack.at(-1); step !== undefined; step = stack.at(-1)) {
        const parent = step.commit?.parents[step.next++];
        if (parent !== undefined) {
          if (!done.has(parent)) stack.push({ hash: parent, commit: await this.#commit(parent, step.hash), next: 0 });
          continue;
        }
        stack.pop();
        if (done.has(step.hash)) continue;
        done.add(step.hash);
        if (step.commit !== null) await this.#check(step.hash, step.commit);
        if (done.size % 64 === 0) {
          this.#progress(done.size);
          await nextTurn();
        }
      }
    }
  }

  async #check(hash: Hash, commit: Commit): Promise<void> {
    this.report.counts.commits++;
    // Its state is gone on purpose: the commit itself is all that there is.
    if (this.#pruned.covers(hash)) return;
    for (const [name, [value, size]] of Object.entries(commit.event.values ?? {})) {
      await this.#value(value, size, hash, `(${name})`);
    }
    const changes = await this.#changes(commit, hash);
    for (const list of [changes?.kv, changes?.vectors]) {
      for (const [key, value, size] of list ?? []) if (value !== null) await this.#value(value, size, hash, key);
    }
    await this.#stateOf(hash, commit);
    // The trees that are stored must be whole: what was computed is checked by its hash already.
    const stored = await this.#storedState(hash, commit);
    if (stored === null && this.#pruned.covers(commit.parents[0] ?? hash)) {
      this.#note("snapshot", commit.snapshot, "missing", MISSING, hash);
    }
    if (stored === null) return;
    await this.#trees(stored, hash);
    this.#keep(hash, stored);
  }

  /** The state after a commit, computed; null when what it needs is damaged. */
  async #stateOf(hash: Hash, commit: Commit): Promise<Head | null> {
    const kept = this.#states.get(hash);
    if (kept !== undefined) return kept;
    const parent = await this.#parentState(commit.parents[0], hash);
    if (parent === null) return null;
    try {
      let state: { snapshot: Snapshot; nodes: LayeredNodes };
      if (commit.adopts === undefined) {
        const changes = await this.#changes(commit, hash);
        if (changes === null) return null;
        state = await applyChanges(parent, changes);
      } else {
        const other = await this.#parentState(commit.adopts, hash);
        if (other === null) return null;
        state = adopted(parent, other);
      }
      if (hashSnapshot(state.snapshot) !== commit.snapshot) {
        this.#note("commit", hash, "wrong", "its changes do not give the snapshot that it names", hash);
        return null;
      }
      const head: Head = { ...parent, ...state, commit: hash, time: commit.time ?? "" };
      this.#keep(hash, head);
      return head;
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      this.#note("node", error.hash, error.problem, error.message, hash);
      return null;
    }
  }

  async #parentState(hash: Hash | undefined, child: Hash): Promise<Head | null> {
    if (hash === undefined) return emptyHead(this);
    const kept = this.#states.get(hash);
    if (kept !== undefined) return kept;
    if (this.#pruned.covers(hash)) return null;
    const commit = await this.#commit(hash, child);
    if (commit === null) return null;
    return (await this.#storedState(hash, commit)) ?? (await this.#stateOf(hash, commit));
  }

  /** The state after a commit as its stored trees have it; null where they are not stored. */
  async #storedState(hash: Hash, commit: Commit): Promise<Head | null> {
    const stored = await this.#bytes("snapshot", commit.snapshot, hash, false);
    if (stored === null) return null;
    const nodes = new LayeredNodes([], this);
    const time = commit.time ?? "";
    return {
      commit: hash,
      time,
      snapshot: decodeSnapshot(stored),
      nodes,
      sinceCommits: 0,
      sinceChanges: 0,
      retiring: null,
    };
  }

  #keep(hash: Hash, head: Head): void {
    this.#states.delete(hash);
    this.#states.set(hash, head);
    if (this.#states.size <= KEPT_STATES) return;
    for (const oldest of this.#states.keys()) {
      this.#states.delete(oldest);
      return;
    }
  }

  /** Reads and checks a node for a replay. @throws Unreadable */
  async node(hash: Hash): Promise<ReturnType<typeof decodeTreeNode>> {
    const [bytes] = await this.#storage.read("node", [hash]);
    if (bytes == null) throw new Unreadable(hash, "missing", MISSING);
    if (sha256(bytes) !== hash) throw new Unreadable(hash, "damaged", DAMAGED);
    return decodeTreeNode(bytes);
  }

  async #trees(head: Head, commit: Hash): Promise<void> {
    const { contract, kv, vectors } = head.snapshot;
    if (contract !== null) await this.#value(contract, 0, commit, "(contract)");
    for (const root of [kv, vectors]) if (root !== null) await this.#tree(head, root, commit);
  }

  async #tree(head: Head, hash: Hash, commit: Hash): Promise<void> {
    if (this.#checked.has(`node ${hash}`)) return;
    this.#checked.add(`node ${hash}`);
    let node = head.nodes.layers.find((layer) => layer.has(hash))?.get(hash)?.node;
    if (node === undefined) {
      const bytes = await this.#bytes("node", hash, commit, true);
      if (bytes === null) return;
      node = decodeTreeNode(bytes);
      if (Buffer.compare(encodeTreeNode(node), bytes) !== 0) {
        this.#note("node", hash, "damaged", "it is not canonical", commit);
      }
      this.report.counts.nodes++;
    }
    for (let i = 0; i < node.keys.length; i++) {
      const child = node.hashes[i] as Hash;
      if (node.level > 0) await this.#tree(head, child, commit);
      else await this.#value(child, node.sizes[i] as number, commit, node.keys[i] as Key);
    }
  }

  async #commit(hash: Hash, child: Hash = hash): Promise<Commit | null> {
    const bytes = await this.#bytes("commit", hash, child, true);
    if (bytes === null) return null;
    const commit = decodeCommit(bytes);
    if (encodeCommit(commit) !== asBuffer(bytes).toString("utf8")) {
      this.#note("commit", hash, "damaged", "it is not canonical", hash);
    }
    return commit;
  }

  async #changes(commit: Commit, hash: Hash): Promise<Changes | null> {
    if (typeof commit.changes !== "string") return commit.changes ?? {};
    const bytes = await this.#bytes("changes", commit.changes, hash, true);
    return bytes === null ? null : parseChanges(parseCanonicalJson(bytes, "change list"));
  }

  async #value(hash: Hash, size: number, commit: Hash, key: string): Promise<void> {
    const kind = valueKind(size);
    const name = `${kind} ${hash}`;
    const known = this.#damaged.get(name);
    if (known !== undefined) this.#affects(known, commit, key);
    if (this.#checked.has(name)) return;
    this.#checked.add(name);
    this.report.counts.values++;
    const bytes = await this.#bytes(kind, hash, commit, !this.#erased.has(hash), key);
    if (bytes === null || kind === "value") return;
    const sum = createHash("sha256");
    if ((await this.#parts(hash, bytes, commit, key, (part) => sum.update(part))) && sum.digest("hex") !== hash) {
      this.#note("list", hash, "wrong", "its parts do not give the value", commit, key);
    }
  }

  async #parts(
    hash: Hash,
    bytes: Uint8Array,
    commit: Hash,
    key: string,
    visit: (part: Uint8Array) => void,
  ): Promise<boolean> {
    let list: ChunkList;
    try {
      list = decodeChunkList(bytes);
    } catch {
      this.#note("list", hash, "damaged", "it is no chunk list", commit, key);
      return false;
    }
    let whole = true;
    for (const part of list.parts) {
      const found = await this.#bytes(list.level === 1 ? "chunk" : "list", part.hash, commit, true, key);
      if (found === null) whole = false;
      else if (list.level === 1) visit(found);
      else whole = (await this.#parts(part.hash, found, commit, key, visit)) && whole;
    }
    return whole;
  }

  /** Reads past every cache and checks the hash; notes what is missing or damaged. */
  async #bytes(kind: Kind, hash: Hash, commit: Hash, required: boolean, key?: string): Promise<Uint8Array | null> {
    const [bytes] = await this.#storage.read(kind, [hash]);
    if (bytes == null) {
      if (required) this.#note(kind, hash, "missing", MISSING, commit, key);
      return null;
    }
    this.report.bytes += bytes.length;
    // A chunk list lies under its value's hash: that is checked over its parts.
    if (kind !== "list" && sha256(bytes) !== hash) {
      this.#note(kind, hash, "damaged", DAMAGED, commit, key);
      return null;
    }
    return bytes;
  }

  #note(
    kind: Damage["kind"],
    hash: Hash,
    problem: Damage["problem"],
    message: string,
    commit: Hash,
    key?: string,
  ): void {
    const name = `${kind} ${hash}`;
    let damage = this.#damaged.get(name);
    if (damage === undefined) {
      damage = { kind, hash, problem, message, commits: [], keys: [] };
      this.#damaged.set(name, damage);
      this.report.damage.push(damage);
    }
    this.#affects(damage, commit, key);
  }

  #affects(damage: MutableDamage, commit: Hash, key: string | undefined): void {
    if (damage.commits.length < EXAMPLES && !damage.commits.includes(commit)) damage.commits.push(commit);
    if (key === undefined || damage.keys.length >= EXAMPLES) return;
    const text = keyText(key as Key);
    if (!damage.keys.includes(text)) damage.keys.push(text);
  }
}

/** A node that a replay needs can't be read. */
class Unreadable extends Error {
  readonly hash: Hash;
  readonly problem: "missing" | "damaged";
  constructor(hash: Hash, problem: "missing" | "damaged", message: string) {
    super(message);
    this.hash = hash;
    this.problem = problem;
  }
}
