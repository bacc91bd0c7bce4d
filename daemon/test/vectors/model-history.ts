import {
  type AgentName,
  type BranchId,
  type Change,
  type Changes,
  type Commit,
  type Contract,
  encodeVectorRecord,
  type Hash,
  hashCommit,
  type Key,
  type Metadata,
  parseKey,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { History as EngineHistory } from "../../src/state/api.ts";
import type { Entry, History, View } from "../../src/vectors/history.ts";

/** The engine's interface has what the room asks for: checked by the compiler. */
export const engineFits = (history: EngineHistory): History => history;

interface Held {
  readonly commit: Commit;
  readonly vectors: ReadonlyMap<Key, Entry>;
  readonly contract: Contract | null;
}

const AGENT = "model" as AgentName;

/** An agent's history in maps: each commit with all that it holds. */
export class ModelHistory implements History {
  readonly commits = new Map<Hash, Held>();
  readonly values = new Map<Hash, Uint8Array>();
  readonly #branches = new Map<BranchId, { id: BranchId; name: string; head: Hash | null }>();
  readonly main: BranchId;
  /** Calls of `value`, to see who reads records. */
  reads = 0;

  constructor(vectors?: Contract["vectors"]) {
    const contract: Contract | null =
      vectors === undefined ? null : { v: 1, name: AGENT, merge: { rules: 1, policies: {} }, vectors };
    this.main = this.#commit([], new Map(), contract, {});
    this.#branches.set(this.main, { id: this.main, name: "main", head: this.main });
  }

  #commit(parents: Hash[], vectors: ReadonlyMap<Key, Entry>, contract: Contract | null, more: Partial<Commit>): Hash {
    const commit: Commit = {
      v: 1,
      agent: AGENT,
      parents,
      snapshot: sha256("not looked at"),
      event: { kind: "vector.put", info: { n: this.commits.size } },
      ...(parents.length === 0 ? {} : { branch: this.main }),
      ...more,
    };
    const hash = hashCommit(commit);
    this.commits.set(hash, { commit, vectors, contract });
    return hash;
  }

  held(commit: Hash): Held {
    const held = this.commits.get(commit);
    if (held === undefined) throw new VlinderError("not_found", `no commit ${commit}`);
    return held;
  }

  head(branch: BranchId): Hash {
    const head = this.#branches.get(branch)?.head;
    if (head === null || head === undefined) throw new Error(`branch ${branch} has no head`);
    return head;
  }

  move(branch: BranchId, head: Hash | null): void {
    const { name } = this.#branches.get(branch) as { name: string };
    this.#branches.set(branch, { id: branch, name, head });
  }

  fork(name: string, at: Hash): BranchId {
    const id = sha256(`fork ${name} ${this.#branches.size}`);
    this.#branches.set(id, { id, name, head: at });
    return id;
  }

  record(vector: ArrayLike<number>, metadata: Metadata = {}): { hash: Hash; size: number } {
    const bytes = encodeVectorRecord({ vector: Float32Array.from(vector), model: "", metadata });
    const hash = sha256(bytes);
    this.values.set(hash, bytes);
    return { hash, size: bytes.length };
  }

  /** A commit on top of another, on no branch: `null` deletes. */
  change(
    parent: Hash,
    changes: Record<string, { hash: Hash; size: number } | null>,
    contract?: Contract["vectors"],
  ): Hash {
    const { vectors, contract: before } = this.held(parent);
    const after = new Map(vectors);
    const list: Change[] = [];
    for (const [text, record] of Object.entries(changes)) {
      const key = parseKey(text);
      if (record === null) after.delete(key);
      else after.set(key, { key, ...record });
      list.push([key, record?.hash ?? null, record?.size ?? 0]);
    }
    list.sort(([a], [b]) => (a < b ? -1 : 1));
    const next = contract === undefined || before === null ? before : { ...before, vectors: contract };
    return this.#commit([parent], after, next, { changes: { vectors: list } });
  }

  put(branch: BranchId, text: string, vector: ArrayLike<number>, metadata: Metadata = {}): Hash {
    const commit = this.change(this.head(branch), { [text]: this.record(vector, metadata) });
    this.move(branch, commit);
    return commit;
  }

  delete(branch: BranchId, text: string): void {
    this.move(branch, this.change(this.head(branch), { [text]: null }));
  }

  rewind(branch: BranchId, to: Hash): void {
    const head = this.head(branch);
    this.move(branch, this.#commit([head], this.held(to).vectors, this.held(head).contract, { adopts: to }));
  }

  /** Takes everything of the other head that is not here; changes go against the first parent. */
  merge(branch: BranchId, other: Hash): void {
    const head = this.head(branch);
    const after = new Map([...this.held(other).vectors, ...this.held(head).vectors]);
    const list: Change[] = [];
    for (const [key, { hash, size }] of after) if (!this.held(head).vectors.has(key)) list.push([key, hash, size]);
    list.sort(([a], [b]) => (a < b ? -1 : 1));
    this.move(branch, this.#commit([head, other], after, this.held(head).contract, { changes: { vectors: list } }));
  }

  branches() {
    return [...this.#branches.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async *newCommits(heads: readonly Hash[], bases: readonly Hash[]) {
    const old = new Set<Hash>();
    const walk = (hash: Hash, seen: Set<Hash>, found: Hash[]): void => {
      if (old.has(hash) || seen.has(hash)) return;
      seen.add(hash);
      for (const parent of this.held(hash).commit.parents) walk(parent, seen, found);
      found.push(hash);
    };
    const below = new Set<Hash>();
    for (const base of bases) if (this.commits.has(base)) walk(base, below, []);
    for (const hash of below) old.add(hash);
    const found: Hash[] = [];
    const seen = new Set<Hash>();
    for (const head of heads) walk(head, seen, found);
    for (const hash of found) yield { hash, commit: this.held(hash).commit };
  }

  async changesOf(commit: Commit): Promise<Changes> {
    return (commit.changes ?? {}) as Changes;
  }

  async value(hash: Hash): Promise<Uint8Array | null> {
    this.reads++;
    return this.values.get(hash) ?? null;
  }

  async view(commit: Hash): Promise<View> {
    const { vectors, contract } = this.held(commit);
    return new ModelView(commit, vectors, contract);
  }
}

class ModelView implements View {
  readonly commit: Hash;
  readonly vectors: ReadonlyMap<Key, Entry>;
  readonly #contract: Contract | null;

  constructor(commit: Hash, vectors: ReadonlyMap<Key, Entry>, contract: Contract | null) {
    this.commit = commit;
    this.vectors = vectors;
    this.#contract = contract;
  }

  #sorted(): Entry[] {
    return [...this.vectors.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  async get(_space: "vectors", key: Key): Promise<Entry | null> {
    return this.vectors.get(key) ?? null;
  }

  async list(_space: "vectors", page: { prefix?: Key; after?: Key; limit: number }): Promise<Entry[]> {
    const { prefix = "", after = "" } = page;
    return this.#sorted()
      .filter(({ key }) => key.startsWith(prefix) && key > after)
      .slice(0, page.limit);
  }

  async *entries() {
    yield* this.#sorted();
  }

  async *diff(_space: "vectors", to: View) {
    const other = (to as ModelView).vectors;
    for (const key of [...new Set([...this.vectors.keys(), ...other.keys()])].sort()) {
      const [a, b] = [this.vectors.get(key) ?? null, other.get(key) ?? null];
      if (a?.hash !== b?.hash) yield { from: a, to: b };
    }
  }

  async totals() {
    return { count: this.vectors.size };
  }

  async contract(): Promise<Contract | null> {
    return this.#contract;
  }
}
