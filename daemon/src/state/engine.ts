import {
  type AgentName,
  type BranchId,
  type BranchName,
  type Changes,
  type Commit,
  type Contract,
  type Hash,
  type Key,
  LIMITS,
  MAIN,
  makeProof,
  type Proof,
} from "@vlinder/protocol";
import type { Kind, ObjectStorage, ReflogEntry, StoredBranch, StoredObject, Usage } from "../storage/object-storage.ts";
import { MemorySegments } from "../storage/segments/segment-storage.ts";
import { andThen } from "./and-then.ts";
import { askedOf, isPut, once, sizeOf } from "./asked.ts";
import type { EngineOptions } from "./engine-options.ts";
import type { Beside, Exchange, Integrated, ReadCommit, Space, TheirBranch } from "./api.ts";
import { BranchTable } from "./branch-table.ts";
import type { LiveBranch } from "./draft.ts";
import { newCommits, objectsOf, treeObjects } from "./exchanged.ts";
import type { Found } from "./found.ts";
import { Heads } from "./heads.ts";
import { Timeline } from "./history/timeline.ts";
import { integrateAll } from "./integrate.ts";
import { Listeners } from "./listeners.ts";
import { commitsWithPrefix } from "./log.ts";
import {
  deleteBranch,
  fork,
  merge,
  type MergeHow,
  type MergeReply,
  rewind,
  setContract,
  write,
  type WriteReply,
} from "./mutations.ts";
import { Objects } from "./objects.ts";
import { promote, type PromoteReply } from "./promote.ts";
import { pathTo } from "./prove.ts";
import { Receiver } from "./receive.ts";
import { record, type RecordRequest } from "./record.ts";
import { Refs } from "./refs.ts";
import { Keeping } from "./retention/keeping.ts";
import type { Retention } from "./retention/retention.ts";
import { type Source, StoredSource } from "./source.ts";
import type { TurnGround } from "./turns/turn-ground.ts";
import { unreached, withTurns } from "./turns/removal.ts";
import { Turns } from "./turns/turns.ts";
import { isPlain, type UploadedWrite, Uploads } from "./uploads.ts";
import type { VerifyReport } from "./verify/run-verify.ts";
import { verifyGround } from "./verify/verify-ground.ts";
import { type VerifyWatch, Verification } from "./verify/verification.ts";
import { ValueReads } from "./value-reads.ts";
import { StateView } from "./view.ts";
import { type DurableMove, Writer } from "./writer.ts";

/** How often forgotten idempotency ids are swept out, in milliseconds. */
const SWEEP = 60 * 60 * 1000;

/** One agent's versioned state over its object storage. */
export class StateEngine implements Exchange {
  readonly agent: AgentName;
  /** Values on their way in. */
  readonly uploads: Uploads;
  /** What happened, and what became of each key. */
  readonly timeline: Timeline;
  /** Turns that are open: private chains of commits. */
  readonly turns: Turns;
  readonly #storage: ObjectStorage;
  readonly #objects: Objects;
  readonly #heads: Heads;
  readonly #source: Source;
  readonly #writer: Writer;
  readonly #moves = new Listeners<readonly DurableMove[]>();
  readonly #verification: Verification;
  readonly #sweep: NodeJS.Timeout;
  readonly #now: () => Date;
  readonly #keeping: Keeping;
  readonly #reads: ValueReads;
  readonly #refs: Refs;

  private constructor(options: EngineOptions, branches: readonly StoredBranch[], keeping: Keeping) {
    const { agent, storage, device, now = () => new Date(), segments = new MemorySegments() } = options;
    this.agent = agent;
    this.#storage = storage;
    this.#now = now;
    this.uploads = new Uploads({
      storage,
      now: () => now().getTime(),
      watch: keeping.watch,
      admit: (bytes) => this.retention.quota.admit(() => bytes),
    });
    this.#objects = new Objects(storage);
    this.#verification = new Verification(storage);
    this.#keeping = keeping;
    this.#heads = new Heads(this.#objects, keeping.pruned, keeping.watch);
    this.#source = new StoredSource(this.#objects, this.#heads, keeping.erased);
    this.#reads = new ValueReads(this.#objects, this.#heads, keeping);
    this.timeline = new Timeline(this.#source, segments);
    this.#moves.add((moves) => {
      this.#reads.entries.moved(moves);
      for (const { branch, to } of moves) if (to !== null) this.timeline.index.catchUp(branch, to);
    });
    const committer = { agent, device, now };
    this.#writer = new Writer({
      storage,
      source: this.#source,
      committer,
      branches: new BranchTable(branches),
      watch: keeping.watch,
      onValue: (hash, bytes) => this.#objects.rememberValue(hash, bytes),
      onCommit: (hash, commit, changes) => {
        this.timeline.index.stored(hash, commit, changes);
        this.turns.index.met(hash, commit);
        this.#reads.entries.met(hash, commit, changes);
      },
      onDurable: (moves) => this.#moves.tell(moves),
    });
    const ground: TurnGround = {
      writer: this.#writer,
      source: this.#source,
      committer,
      objects: this.#objects,
      reads: this.#reads,
      watch: keeping.watch,
      uploads: this.uploads,
      quota: () => this.retention.quota,
      keep: (transaction) => storage.keep?.(transaction) ?? null,
      past: (at) => this.resolve(at).then((commit) => this.view(commit)),
      findInPast: (key, at) => this.find(key, undefined, at),
    };
    this.turns = new Turns(ground, storage, options.onTurn ?? (() => {}));
    this.#refs = new Refs({
      branches: () => this.#writer.branches,
      objects: this.#objects,
      prefixed: (prefix) => commitsWithPrefix(storage, prefix),
      lookback: this.timeline.lookback,
      turns: async (turn) => (await this.turns.index.turn(turn))?.ended ?? null,
    });
    this.#sweep = setInterval(() => void this.#dropReplies(), SWEEP).unref();
  }

  /** Opens what is stored; an empty storage gets its first commits with `setContract` or from `receive`. */
  static async open(options: EngineOptions): Promise<StateEngine> {
    const { storage } = options;
    const engine = new StateEngine(options, await storage.branches(), await Keeping.open(storage));
    const { turns, uploads } = engine;
    const [objects, heads, writer] = [engine.#objects, engine.#heads, engine.#writer];
    await engine.#keeping.start(withTurns(options, turns), {
      storage,
      objects,
      heads,
      writer,
      uploads: unreached(uploads, turns),
      contract: () => engine.contract(),
      now: engine.#now,
    });
    turns.restored().catch((error: unknown) => {
      options.report?.(error, "turns that were open when the daemon stopped could not be ended yet");
    });
    return engine;
  }

  /** Retention, erasure, and the space that the agent takes. */
  get retention(): Retention {
    return this.#keeping.retention;
  }

  get uri(): string {
    return this.#storage.uri;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    const ending = this.turns.close();
    if (ending !== null) await ending;
    // At once, so that nothing more is taken.
    const written = this.#writer.close();
    this.uploads.close();
    await this.#verification.close();
    await this.#keeping.close();
    await written;
    await this.timeline.index.close();
    await this.#storage.close();
    this.#objects.close();
  }

  /** Called after each transaction with the moves that it made durable. Returns the way to stop it. */
  onMoves(listener: (moves: readonly DurableMove[]) => void): () => void {
    return this.#moves.add(listener);
  }

  // Reads: durable state only.

  branches(): readonly StoredBranch[] {
    return this.#writer.branches.all();
  }

  liveBranches(): readonly LiveBranch[] {
    return this.#writer.branches.live();
  }

  /** @throws not_found */
  branch(name: BranchName): LiveBranch {
    return this.#writer.branches.required(name);
  }

  /** The commit that a ref names: see refs.ts. @throws not_found, invalid */
  resolve(ref: string): Promise<Hash> {
    return this.#refs.resolve(ref);
  }

  /** The state that a read asks for: a past commit, or a branch's head, at once where that is in memory. */
  stateOf(branch: BranchName = MAIN, at?: string): StateView | Promise<StateView> {
    if (at !== undefined) return this.resolve(at).then((commit) => this.view(commit));
    const { id, head } = this.branch(branch);
    const known = this.#writer.durableHead(id);
    if (known?.commit === head) return new StateView(known, this.#objects);
    return andThen(this.#heads.at(head), (found) => new StateView(found, this.#objects));
  }

  /** What a key holds at a branch's head or at a past commit; at once where all that it takes can be read so. */
  find(key: Key, branch?: BranchName, at?: string): Found | Promise<Found> {
    if (at !== undefined) return this.resolve(at).then((commit) => this.#reads.findInPast(commit, key));
    return andThen(this.stateOf(branch), (view) => this.#reads.findAtHead(view, key));
  }

  async view(commit: Hash): Promise<StateView> {
    return new StateView(await this.#heads.at(commit), this.#objects);
  }

  commit(hash: Hash): Promise<Commit> {
    return this.#objects.commit(hash);
  }

  /** Null: it is not here. */
  findCommit(hash: Hash): Promise<Commit | null> {
    return this.#objects.findCommit(hash);
  }

  changesOf(commit: Commit): Promise<Changes> {
    return this.#objects.changesOf(commit);
  }

  async value(hash: Hash, size: number): Promise<Uint8Array | null> {
    return this.#objects.value(hash, size);
  }

  /** The value's bytes. @throws erased; internal, when the storage has lost them */
  async requiredValue(hash: Hash, size: number): Promise<Uint8Array> {
    return await this.#reads.value(hash, size);
  }

  /** A value's bytes from `start` to `end`, without reading the rest. @throws erased; internal, when the storage has lost them */
  range(hash: Hash, size: number, start: number, end: number): Promise<Uint8Array> {
    return this.#reads.range(hash, size, start, end);
  }

  async contract(): Promise<Contract | null> {
    if (this.#writer.branches.byName(MAIN) === undefined) return null;
    return await (await this.stateOf()).contract();
  }

  /** Newest first. */
  log(from: Hash): AsyncGenerator<{ hash: Hash; commit: Commit }> {
    return this.timeline.log(from);
  }

  reflog(branch: BranchName | undefined, limit: number): Promise<ReflogEntry[]> {
    return this.#storage.reflog(branch === undefined ? null : this.branch(branch).id, limit);
  }

  usage(): Promise<Usage> {
    return this.#storage.usage();
  }

  /**
   * Reads and hashes all that the branches reach, or one state; beside everything else. What retention dropped and
   * what was erased is no damage. @throws pruned, unavailable
   */
  verify(at: Hash | null = null, watch: VerifyWatch = {}): Promise<VerifyReport> {
    return this.#verification.run(at, verifyGround(at, this.#keeping, this), watch);
  }

  /** A proof of what a key had in the state of a commit, for `checkProof`. */
  async prove(at: Hash, space: Space, key: Key): Promise<Proof> {
    const { nodes, snapshot } = await this.#heads.at(at);
    const path = await pathTo(nodes, snapshot[space], key);
    return makeProof({ key, space }, await this.#objects.commitBytes(at), snapshot, path);
  }

  // Writes: each is one request, answered when it is durable.

  /** Ops may name uploads in place of values. @throws not_found and conflict of an upload, too */
  write(request: UploadedWrite, id?: string): Promise<WriteReply> {
    const idempotency = id === undefined ? undefined : once(id, askedOf(request));
    const { ops } = request;
    const put = ops.some(isPut) ? this.retention.quota.begin(() => sizeOf(ops)) : null;
    const admit = (): void | Promise<void> => put?.admit();
    const reply = isPlain(request)
      ? this.#writer.write((draft) => andThen(admit(), () => write(draft, request)), idempotency)
      : this.uploads.write(request, (work) =>
          this.#writer.write((draft) => andThen(admit(), () => work(draft)), idempotency),
        );
    return put === null ? reply : reply.finally(() => put.end());
  }

  /** Keeps what happened outside of keys and vectors as a commit on a branch. @throws not_found, sealed */
  record(request: RecordRequest): Promise<{ state: Hash }> {
    return this.#writer.write((draft) => record(draft, request));
  }

  setContract(contract: Contract): Promise<{ state: Hash; changed: boolean }> {
    return this.#writer.write((draft) => setContract(draft, contract));
  }

  // `asked` is how the request named the commit: by the time of a retry a branch's name may mean another one.

  fork(name: BranchName, from: Hash, id?: string, asked: string = from): Promise<{ branch: BranchId; state: Hash }> {
    return this.#writer.write((draft) => fork(draft, name, from), once(id, { fork: name, from: asked }));
  }

  rewind(branch: BranchName, to: Hash, id?: string, asked: string = to): Promise<{ state: Hash }> {
    return this.#writer.write((draft) => rewind(draft, branch, to), once(id, { rewind: branch, to: asked }));
  }

  promote(branch: BranchName, into: BranchName, id?: string): Promise<PromoteReply> {
    return this.#writer.write((draft) => promote(draft, branch, into), once(id, { promote: branch, into }));
  }

  merge(into: BranchName, from: Hash, how: MergeHow = {}, id?: string, asked: string = from): Promise<MergeReply> {
    const { prefer, dry } = how;
    // What writes nothing may be asked again.
    const known = dry === true ? undefined : once(id, { merge: into, from: asked, ...(prefer && { prefer }) });
    return this.#writer.write((draft) => merge(draft, into, from, how), known);
  }

  deleteBranch(name: BranchName): Promise<{ state: Hash }> {
    return this.#writer.write((draft) => Promise.resolve(deleteBranch(draft, name)));
  }

  // Exchange with other machines.

  has(commits: readonly Hash[]): Promise<boolean[]> {
    return Promise.all(commits.map(async (hash) => (await this.#objects.findCommit(hash)) !== null));
  }

  newCommits(heads: readonly Hash[], bases: readonly Hash[]): AsyncGenerator<ReadCommit> {
    return newCommits(this.#objects, heads, bases);
  }

  objectsOf(commit: Commit): AsyncGenerator<{ kind: Kind; hash: Hash }> {
    return objectsOf(this.#objects, this.#keeping.erased, commit);
  }

  async *treeObjects(commit: Hash): AsyncGenerator<StoredObject> {
    yield* treeObjects(await this.#heads.at(commit));
  }

  read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    return this.#storage.read(kind, hashes);
  }

  isPruned(): boolean {
    return this.#keeping.pruned.count > 0;
  }

  get keepsCopies(): boolean {
    return this.#storage.keepsCopies === true;
  }

  receive(
    objects: readonly StoredObject[],
    erasures: readonly StoredObject[] = [],
    beside?: Beside,
  ): Promise<{ commits: number; objects: number }> {
    const { erased, watch } = this.#keeping;
    const receiver = new Receiver(this.agent, this.#storage, this.#objects, this.#heads, erased, watch);
    const received = receiver.receive(objects, erasures, beside);
    // What is refused is told to the caller.
    const taken = (): void => this.turns.index.received(objects);
    received.then(taken, () => {});
    return this.#keeping.receiving(received);
  }

  integrate(theirs: readonly TheirBranch[]): Promise<Integrated[]> {
    return integrateAll(this.#writer, theirs);
  }

  /** Where the storage is away, old ids cost only space, and the next sweep comes in an hour. */
  #dropReplies(): Promise<void> {
    return this.#storage.dropReplies(this.#now().getTime() - LIMITS.replyMemory).catch(() => {});
  }
}
