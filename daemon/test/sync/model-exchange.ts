import {
  type AgentName,
  type BranchId,
  CHUNKED_OVER,
  type Change,
  type Changes,
  type Commit,
  decodeChunkList,
  decodeCommit,
  type DeviceId,
  EMPTY_SNAPSHOT,
  encodeChunkList,
  encodeCommit,
  encodeSnapshot,
  type Hash,
  hashSnapshot,
  invalid,
  type Key,
  parseCanonicalJson,
  parseKey,
  sha256,
  sha256Of,
} from "@vlinder/protocol";
import type { Exchange, Integrated, ReadCommit, TheirBranch, View } from "../../src/state/api.ts";
import type { Kind, StoredBranch, StoredObject } from "../../src/storage/object-storage.ts";

type State = ReadonlyMap<Key, { readonly hash: Hash; readonly size: number }>;

/** An agent's state as plainly as it can be, to sync against: flat states, whole replays, one merge rule. */
export class ModelExchange implements Exchange {
  readonly agent: AgentName;
  readonly objects = new Map<string, Uint8Array>();
  readonly table = new Map<BranchId, StoredBranch>();
  readonly device: DeviceId;
  readonly main: BranchId;
  /** The model forgets nothing. */
  readonly retention = { settle: async () => {}, needed: async () => [] };
  readonly #states = new Map<Hash, State>();
  #clock = 0;

  constructor(agent: string, device: string) {
    this.agent = agent as AgentName;
    this.device = device as DeviceId;
    const init: Commit = {
      v: 1,
      agent: this.agent,
      parents: [],
      snapshot: hashSnapshot(EMPTY_SNAPSHOT),
      event: { kind: "init" },
    };
    this.main = this.#store("commit", encodeCommit(init));
    this.#setHead(this.main, this.main, "main");
  }

  // Writing, for the tests.

  put(key: string, value: string | Uint8Array, branch: BranchId = this.main): Hash {
    const bytes = Buffer.from(value as string);
    const hash = sha256(bytes);
    if (bytes.length <= CHUNKED_OVER) this.#store("value", bytes);
    else {
      const parts = [];
      for (let i = 0; i < bytes.length; i += CHUNKED_OVER) {
        const part = bytes.subarray(i, i + CHUNKED_OVER);
        parts.push({ hash: this.#store("chunk", part), size: part.length });
      }
      this.objects.set(`list ${hash}`, encodeChunkList({ level: 1, parts }));
    }
    return this.#commit(branch, [[parseKey(key), hash, bytes.length]]);
  }

  fork(name: string): BranchId {
    const id = sha256(`${name} of ${this.device}`);
    this.#setHead(id, this.head(), name);
    return id;
  }

  deleteBranch(id: BranchId): void {
    const branch = this.#branch(id);
    this.table.set(id, {
      ...branch,
      head: null,
      deleted: union(branch.deleted, branch.head === null ? [] : [branch.head]),
    });
  }

  seal(id: BranchId): void {
    this.table.set(id, { ...this.#branch(id), sealed: true });
  }

  head(branch: BranchId = this.main): Hash {
    return this.#branch(branch).head as Hash;
  }

  /** Key → text, of a branch's head. */
  contents(branch: BranchId = this.main): Record<string, string> {
    const entries = [...this.#state(this.head(branch))].toSorted(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([key, { hash }]) => [key, String(this.#bytes(hash))]));
  }

  commits(): Hash[] {
    return [...this.objects.keys()].filter((name) => name.startsWith("commit ")).map((name) => name.slice(7) as Hash);
  }

  // Exchange.

  branches(): StoredBranch[] {
    return [...this.table.values()];
  }

  async has(commits: readonly Hash[]): Promise<boolean[]> {
    return commits.map((hash) => this.objects.has(`commit ${hash}`));
  }

  async view(): Promise<View> {
    throw new Error("the model has no views");
  }

  async *newCommits(heads: readonly Hash[], bases: readonly Hash[]): AsyncIterable<ReadCommit> {
    const done = this.#ancestors(bases.filter((hash) => this.objects.has(`commit ${hash}`)));
    const order: Hash[] = [];
    const stack = [...heads].map((hash) => ({ hash, parentsDone: false }));
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      if (top.parentsDone) order.push(top.hash);
      if (done.has(top.hash)) continue;
      done.add(top.hash);
      stack.push({ hash: top.hash, parentsDone: true });
      for (const hash of this.#read(top.hash).parents) stack.push({ hash, parentsDone: false });
    }
    for (const hash of order) {
      yield { hash, commit: this.#read(hash), bytes: this.objects.get(`commit ${hash}`) as Uint8Array };
    }
  }

  async changesOf(commit: Commit): Promise<Changes> {
    return (commit.changes ?? {}) as Changes;
  }

  async value(hash: Hash): Promise<Uint8Array | null> {
    return this.#bytes(hash);
  }

  async *objectsOf(commit: Commit): AsyncIterable<{ kind: Kind; hash: Hash }> {
    const lists: Hash[] = [];
    for (const [, hash] of await this.#kv(commit)) {
      if (hash === null) continue;
      if (this.objects.has(`list ${hash}`)) lists.push(hash);
      else yield { kind: "value", hash };
    }
    for (const hash of lists) yield { kind: "list", hash };
    for (const list of lists) {
      for (const { hash } of decodeChunkList(this.objects.get(`list ${list}`) as Uint8Array).parts) {
        yield { kind: "chunk", hash };
      }
    }
  }

  async *treeObjects(commit: Hash): AsyncIterable<StoredObject> {
    const { node, snapshot } = treeOf(this.#state(commit));
    if (node !== null) yield { kind: "node", hash: sha256(node), bytes: node };
    yield { kind: "snapshot", hash: sha256(snapshot), bytes: snapshot };
  }

  isPruned(): boolean {
    return false;
  }

  async read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    return hashes.map((hash) => this.objects.get(`${kind} ${hash}`) ?? null);
  }

  async receive(objects: readonly StoredObject[]): Promise<{ commits: number; objects: number }> {
    const before = new Set(this.objects.keys());
    let commits = 0;
    try {
      for (const object of objects) {
        this.#check(object);
        const name = `${object.kind} ${object.hash}`;
        if (object.kind === "commit" && !this.objects.has(name)) commits++;
        this.objects.set(name, object.bytes);
        if (object.kind === "commit") this.#checkCommit(object);
      }
    } catch (error) {
      for (const name of this.objects.keys()) if (!before.has(name)) this.objects.delete(name);
      throw error;
    }
    return { commits, objects: objects.length };
  }

  async integrate(theirs: readonly TheirBranch[]): Promise<Integrated[]> {
    const results: Integrated[] = [];
    for (const id of [...new Set(theirs.map((branch) => branch.id))].toSorted()) {
      results.push(
        this.#integrateOne(
          id,
          theirs.filter((branch) => branch.id === id),
        ),
      );
    }
    return results;
  }

  #integrateOne(id: BranchId, theirs: readonly TheirBranch[]): Integrated {
    const ours = this.table.get(id);
    const heads = [...new Set([ours?.head ?? null, ...theirs.map(({ head }) => head)])].filter((head) => head !== null);
    const deleted = union(
      ours?.deleted ?? [],
      theirs.flatMap((branch) => branch.deleted),
    );
    const covered = this.#ancestors(deleted);
    const live = heads.filter((head) => !covered.has(head)).toSorted();
    const sealed = (ours?.sealed ?? false) || theirs.some((branch) => branch.sealed);
    const name = ours?.name ?? (theirs[0] as TheirBranch).name;
    const done = (result: Integrated["result"], head: Hash): Integrated => ({
      name,
      result,
      head,
      conflicts: 0,
      notes: [],
    });
    if (live.length === 0) {
      const tomb = deleted[0] as Hash;
      this.table.set(id, { id, name, head: null, deleted, sealed });
      return done(ours?.head === null ? "unchanged" : "deleted", tomb);
    }
    const tips = live.filter((head) => !live.some((other) => other !== head && this.#ancestors([other]).has(head)));
    const head = tips.reduce((a, b) => this.#merge(id, a, b));
    this.table.set(id, { id, name, head, deleted, sealed });
    if (head === ours?.head) return done("unchanged", head);
    if (ours === undefined || ours.head === null) return done("new", head);
    return done(tips.length > 1 ? "merged" : "fast-forward", head);
  }

  /** A pure function of the two: the same on every machine. */
  #merge(branch: BranchId, one: Hash, other: Hash): Hash {
    const [a, b] = [one, other].toSorted() as [Hash, Hash];
    const common = [...this.#ancestors([a])].filter((hash) => this.#ancestors([b]).has(hash));
    const base = this.#state(common.reduce((x, y) => (this.#ancestors([y]).has(x) ? y : x)));
    const [left, right] = [this.#state(a), this.#state(b)];
    const changes: Change[] = [];
    for (const key of new Set([...left.keys(), ...right.keys()])) {
      const [was, l, r] = [base.get(key)?.hash, left.get(key), right.get(key)];
      if (r === undefined || l?.hash === r.hash || was === r.hash) continue;
      if (l === undefined || was === l.hash) changes.push([key, r.hash, r.size]);
      else {
        const [stays, goes] = l.hash < r.hash ? [r, l] : [l, r];
        if (stays === r) changes.push([key, r.hash, r.size]);
        changes.push([`${key}.conflict-${goes.hash.slice(0, 16)}` as Key, goes.hash, goes.size]);
      }
    }
    const [earlier = "", later = ""] = [this.#read(a).time, this.#read(b).time];
    const time = earlier > later ? earlier : later;
    return this.#write({
      v: 1,
      agent: this.agent,
      branch,
      parents: [a, b],
      snapshot: this.#snapshotAfter(a, changes),
      event: { kind: "merge" },
      ...(changes.length === 0 ? {} : { changes: { kv: sorted(changes) } }),
      ...(time === "" ? {} : { time }),
    });
  }

  #commit(branch: BranchId, changes: readonly Change[]): Hash {
    const parent = this.head(branch);
    const time = new Date(1_700_000_000_000 + this.#clock++).toISOString();
    const before = this.#read(parent).time ?? time;
    const hash = this.#write({
      v: 1,
      agent: this.agent,
      branch,
      parents: [parent],
      snapshot: this.#snapshotAfter(parent, changes),
      event: { kind: "kv.put" },
      changes: { kv: sorted(changes) },
      time: time > before ? time : before,
      device: this.device,
    });
    this.table.set(branch, { ...this.#branch(branch), head: hash });
    return hash;
  }

  #write(commit: Commit): Hash {
    return this.#store("commit", encodeCommit(commit));
  }

  #store(kind: Kind, bytes: Uint8Array | string): Hash {
    const hash = sha256(bytes);
    this.objects.set(`${kind} ${hash}`, Buffer.from(bytes as string));
    return hash;
  }

  #setHead(id: BranchId, head: Hash, name: string): void {
    this.table.set(id, { id, name, head, deleted: [], sealed: false });
  }

  #branch(id: BranchId): StoredBranch {
    const branch = this.table.get(id);
    if (branch === undefined) throw new Error(`no branch ${id}`);
    return branch;
  }

  #read(hash: Hash): Commit {
    const bytes = this.objects.get(`commit ${hash}`);
    if (bytes === undefined) throw invalid(`no commit ${hash}`);
    return decodeCommit(bytes);
  }

  async #kv(commit: Commit): Promise<readonly Change[]> {
    return ((commit.changes ?? {}) as Changes).kv ?? [];
  }

  #ancestors(of: readonly Hash[]): Set<Hash> {
    const found = new Set<Hash>();
    const stack = [...of];
    for (let hash = stack.pop(); hash !== undefined; hash = stack.pop()) {
      if (found.has(hash) || !this.objects.has(`commit ${hash}`)) continue;
      found.add(hash);
      stack.push(...this.#read(hash).parents);
    }
    return found;
  }

  #state(commit: Hash): State {
    const chain: Hash[] = [];
    let at: Hash | undefined = commit;
    while (at !== undefined && !this.#states.has(at)) {
      chain.push(at);
      at = this.#read(at).parents[0];
    }
    let state: State = at === undefined ? new Map() : (this.#states.get(at) as State);
    for (const hash of chain.reverse()) {
      state = apply(state, ((this.#read(hash).changes ?? {}) as Changes).kv ?? []);
      this.#states.set(hash, state);
    }
    return state;
  }

  #snapshotAfter(parent: Hash, changes: readonly Change[]): Hash {
    return sha256(treeOf(apply(this.#state(parent), changes)).snapshot);
  }

  #bytes(hash: Hash): Buffer | null {
    const value = this.objects.get(`value ${hash}`);
    if (value !== undefined) return Buffer.from(value);
    const list = this.objects.get(`list ${hash}`);
    if (list === undefined) return null;
    const parts = decodeChunkList(list).parts.map((part) => this.objects.get(`chunk ${part.hash}`));
    return parts.includes(undefined) ? null : Buffer.concat(parts as Uint8Array[]);
  }

  #check({ kind, hash, bytes }: StoredObject): void {
    if (kind === "list") {
      const parts = decodeChunkList(bytes).parts.map((part) => this.objects.get(`chunk ${part.hash}`));
      if (parts.includes(undefined)) throw invalid(`list ${hash}: its chunks are not here`);
      if (sha256Of(parts as Uint8Array[]) !== hash) throw invalid(`list ${hash} gives another value`);
    } else if (sha256(bytes) !== hash) throw invalid(`${kind} ${hash} has another hash`);
  }

  #checkCommit({ hash, bytes }: StoredObject): void {
    parseCanonicalJson(bytes, "commit");
    const commit = decodeCommit(bytes);
    if (commit.agent !== this.agent) throw invalid(`commit ${hash} is of agent ${commit.agent}`);
    for (const parent of commit.parents) {
      if (!this.objects.has(`commit ${parent}`)) throw invalid(`commit ${hash}: parent ${parent} is not here`);
    }
    const changes = ((commit.changes ?? {}) as Changes).kv ?? [];
    for (const [, value] of changes) {
      if (value !== null && this.#bytes(value) === null) throw invalid(`commit ${hash}: value ${value} is not here`);
    }
    const state = treeOf(this.#state(hash)).snapshot;
    if (sha256(state) !== commit.snapshot) throw invalid(`commit ${hash}: its changes give another snapshot`);
  }
}

function sorted(changes: readonly Change[]): Change[] {
  return [...changes].sort(([a], [b]) => (a < b ? -1 : 1));
}

function apply(state: State, changes: readonly Change[]): State {
  const next = new Map(state);
  for (const [key, hash, size] of changes) {
    if (hash === null) next.delete(key);
    else next.set(key, { hash, size });
  }
  return next;
}

function treeOf(state: State): { node: Buffer | null; snapshot: Buffer } {
  const entries = [...state].sort(([a], [b]) => (a < b ? -1 : 1));
  const node = entries.length === 0 ? null : Buffer.from(JSON.stringify(entries));
  const kv = node === null ? null : sha256(node);
  return { node, snapshot: Buffer.from(encodeSnapshot({ ...EMPTY_SNAPSHOT, kv })) };
}

function union(a: readonly Hash[], b: readonly Hash[]): Hash[] {
  return [...new Set([...a, ...b])].sort((x, y) => (x < y ? -1 : 1));
}
