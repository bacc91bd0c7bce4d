import { setImmediate as nextTurn } from "node:timers/promises";
import { asVlinderError, type Changes, type Commit, type Hash, LIMITS, VlinderError } from "@vlinder/protocol";
import { BranchConflict, type BranchMove, type ObjectStorage, type StoredReply } from "../storage/object-storage.ts";
import { andThen } from "./and-then.ts";
import { arrivals } from "./arrivals.ts";
import { reusedId } from "./asked.ts";
import { addMove, type Batch, type Idempotency, type Job, newBatch, type Work } from "./batch.ts";
import { BranchTable } from "./branch-table.ts";
import { type Committer, Draft, type Working } from "./draft.ts";
import type { Head } from "./head.ts";
import { Objects } from "./objects.ts";
import type { Watch } from "./retention/watch.ts";
import type { Source } from "./source.ts";

/** Branch moves that became durable. */
export interface DurableMove {
  readonly branch: Hash;
  readonly name: string;
  readonly from: Hash | null;
  readonly to: Hash | null;
}

/** A transaction on its way to the storage. */
interface Flight {
  done: Promise<void>;
  landed: boolean;
  /** Requests to be computed again, when it failed; null when it did not. */
  failed: { again: Job[] } | null;
}

const BATCH_JOBS = 512;
/** More would be packed in one piece, and keep reads waiting. */
const BATCH_BYTES = 2 * 1024 * 1024;
/** Computing longer than this without a break would keep reads waiting. */
const SLICE_MS = 2;
/** Of a request that loses to another daemon: two that are as fast go on in step for a while. To wait before the next one makes who waits lose again. */
const ATTEMPTS = 10;

/**
 * The one place where an agent's state changes. Requests are computed one after another on the
 * working state; what arrived together is one transaction, and while it is being made durable the
 * next one is computed on top. A request is answered, also with an error, only when all that its
 * answer rests on is durable. When a transaction fails, its requests are answered `unavailable`,
 * the working state goes back to the durable one, and those behind are computed again.
 */
export class Writer {
  readonly #storage: ObjectStorage;
  readonly #source: Source;
  readonly #committer: Committer;
  readonly #onValue: (hash: Hash, bytes: Uint8Array) => void;
  readonly #onCommit: (hash: Hash, commit: Commit, changes: Changes) => void;
  readonly #onDurable: (moves: readonly DurableMove[]) => void;
  #durable: BranchTable;
  #durableHeads = new Map<Hash, Head>();
  #working: Working;
  #queue: Job[] = [];
  /** Work that waits to be done while nothing is computed or on its way. */
  readonly #alone: { readonly work: () => Promise<void>; readonly reject: (error: unknown) => void }[] = [];
  readonly #watch: Watch;
  /** By id. The reply is taken out when it is known: dead tables of the map keep what it had (`UnderWay` says why). */
  readonly #inFlight = new Map<string, { readonly request: Hash; reply: Promise<unknown> | null }>();
  #running: Promise<void> | null = null;
  #wake: () => void = () => {};
  /** A transaction failed, and the branches could not be read since: it may have been applied all the same. */
  #inDoubt = false;
  #closed = false;

  constructor(options: {
    storage: ObjectStorage;
    source: Source;
    committer: Committer;
    branches: BranchTable;
    watch: Watch;
    /** For each value that became durable. */
    onValue: (hash: Hash, bytes: Uint8Array) => void;
    /** For each commit that became durable, before `onDurable`. */
    onCommit: (hash: Hash, commit: Commit, changes: Changes) => void;
    onDurable: (moves: readonly DurableMove[]) => void;
  }) {
    this.#storage = options.storage;
    this.#source = options.source;
    this.#committer = options.committer;
    this.#onValue = options.onValue;
    this.#onCommit = options.onCommit;
    this.#onDurable = options.onDurable;
    this.#durable = options.branches;
    this.#watch = options.watch;
    this.#working = { table: this.#durable.copy(), heads: new Map(), unsaved: new Map() };
  }

  /** Durable branches. */
  get branches(): BranchTable {
    return this.#durable;
  }

  /** The durable state of a branch, where it is at hand. */
  durableHead(id: Hash): Head | undefined {
    return this.#durableHeads.get(id);
  }

  /**
   * Computes and stores one request's writes. With an id, the same request again joins the one in
   * flight or gets the first reply. @throws conflict (the id was used for another request), unavailable, and what `work` throws
   */
  write<T>(work: Work<T>, once?: Idempotency): Promise<T> {
    if (this.#closed) return Promise.reject(new VlinderError("unavailable", "the agent's state is being closed"));
    if (once === undefined) return this.#enqueue(work, undefined);
    const known = this.#inFlight.get(once.id);
    if (known !== undefined) {
      return known.request === once.request ? (known.reply as Promise<T>) : Promise.reject(reusedId(once.id));
    }
    const answered = (): void => {
      this.#inFlight.delete(once.id);
      held.reply = null;
    };
    const reply = this.#enqueue(work, once).finally(answered);
    const held: { request: Hash; reply: Promise<T> | null } = { request: once.request, reply };
    this.#inFlight.set(once.id, held);
    return reply;
  }

  /** Until it is released, an id stands for this request and its reply, as if they were being stored. */
  hold({ id, request }: Idempotency, reply: unknown): () => void {
    const held = { request, reply: Promise.resolve(reply) };
    this.#inFlight.set(id, held);
    return () => {
      if (this.#inFlight.get(id) === held) this.#inFlight.delete(id);
    };
  }

  /** The reply that a request got by its id, where it is stored; else null. @throws conflict: the id was another request's */
  async earlier(once: Idempotency): Promise<unknown> {
    const reply = await this.#reply(once.id);
    return reply === null ? null : replyOf(reply, once);
  }

  /** Does work while no write is computed or being stored: those that come meanwhile wait for it. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new VlinderError("unavailable", "the agent's state is being closed"));
    return new Promise<T>((resolve, reject) => {
      this.#alone.push({ work: () => work().then(resolve, reject), reject });
      this.#wake();
      this.#running ??= this.#run();
    });
  }

  /** Waits until all that was asked has been answered. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#running !== null) await this.#running;
  }

  #enqueue<T>(work: Work<T>, once: Idempotency | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ work, once, resolve: resolve as (reply: unknown) => void, reject, attempts: 0 });
      this.#wake();
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    // Requests that arrive together travel in one transaction.
    await arrivals();
    let flight: Flight | null = null;
    let batch = newBatch();
    for (;;) {
      if (this.#inDoubt && flight === null && this.#queue.length + this.#alone.length > 0) await this.#settleDoubt();
      if (batch.jobs.length === 0 && (flight === null || (flight.landed && flight.failed === null))) {
        for (let next = this.#alone.shift(); next !== undefined; next = this.#alone.shift()) await next.work();
      }
      await this.#fill(batch);
      if (flight !== null && !flight.landed) {
        // More may join the batch while the one before it is being written.
        const more = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        await (batch.jobs.length < BATCH_JOBS ? Promise.race([flight.done, more]) : flight.done);
        continue;
      }
      if (flight?.failed != null) {
        this.#startOver([...flight.failed.again, ...batch.jobs]);
        flight = null;
        batch = newBatch();
      } else if (batch.jobs.length > 0) {
        flight = this.#store(batch);
        batch = newBatch();
      } else if (this.#queue.length + this.#alone.length === 0) {
        // At once, and not when the promise settles: a request may come in between.
        this.#running = null;
        return;
      }
    }
  }

  /** Computes what is queued, as long as it fits. */
  async #fill(batch: Batch): Promise<void> {
    let slice = performance.now();
    while (
      this.#alone.length === 0 &&
      this.#queue.length > 0 &&
      batch.jobs.length < BATCH_JOBS &&
      batch.bytes < BATCH_BYTES
    ) {
      const computing = this.#compute(this.#queue.shift() as Job, batch);
      if (computing !== undefined) await computing;
      if (performance.now() - slice > SLICE_MS) {
        await nextTurn();
        slice = performance.now();
      }
    }
  }

  #compute(job: Job, batch: Batch): void | Promise<void> {
    job.attempts++;
    batch.jobs.push(job);
    const draft = new Draft(this.#working, this.#source, this.#committer);
    const failed = (error: unknown): void => {
      draft.drop();
      batch.settle.push(() => job.reject(error));
    };
    try {
      const earlier = job.once === undefined ? null : this.#reply(job.once.id);
      const work = andThen(earlier, (reply) => this.#perform(job, batch, draft, reply));
      if (work instanceof Promise) return work.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  #perform(job: Job, batch: Batch, draft: Draft, earlier: StoredReply | null): void | Promise<void> {
    if (earlier === null) return andThen(job.work(draft), (reply) => this.#take(job, batch, draft, reply));
    const reply = replyOf(earlier, job.once);
    batch.settle.push(() => job.resolve(reply));
  }

  /** What a request has computed becomes part of the batch, and of what the next one builds on. */
  #take(job: Job, batch: Batch, draft: Draft, reply: unknown): void {
    draft.fold();
    for (const object of draft.objects) {
      batch.objects.push(object);
      batch.bytes += object.bytes.length + 100;
    }
    if (this.#watch.isActive) for (const { kind, hash } of draft.objects) this.#watch.object(kind, hash);
    for (const note of draft.notes) batch.notes.push(note);
    for (const move of draft.moves) addMove(batch.moves, move);
    batch.retiring.push(...draft.retiring);
    for (const hash of draft.unsaved.keys()) batch.commits.push(hash);
    if (job.once !== undefined) {
      batch.replies.push({ ...job.once, reply: JSON.stringify(reply), time: this.#now() });
    }
    batch.settle.push(() => job.resolve(reply));
  }

  /** The reply that was given to an id within its time; an older one must go, or it would keep the new one out. */
  #reply(id: string): StoredReply | null | Promise<StoredReply | null> {
    // Undefined: the backend can't answer at once. Null: there is none.
    const known = this.#storage.replyNow?.(id);
    const found = known === undefined ? this.#storage.reply(id) : known;
    return andThen(found, (reply): StoredReply | null | Promise<null> => {
      if (reply === null || reply.time > this.#now() - LIMITS.replyMemory) return reply;
      return this.#storage.dropReplies(reply.time + 1).then(() => null);
    });
  }

  #store(batch: Batch): Flight {
    const branches = [...batch.moves.values()].flat();
    // Taken now: the working state moves on while the transaction is on its way.
    const heads = new Map(branches.map((move) => [move.id, this.#working.heads.get(move.id)]));
    const { objects, replies, notes } = batch;
    const nothing = objects.length + branches.length + replies.length + notes.length === 0;
    const flight: Flight = { done: Promise.resolve(), landed: false, failed: null };
    flight.done = (nothing ? Promise.resolve() : this.#storage.apply({ objects, branches, replies, notes }))
      .then(
        () => this.#landed(batch, branches, heads),
        async (error: unknown) => {
          flight.failed = { again: await this.#refused(batch, error) };
        },
      )
      .finally(() => {
        flight.landed = true;
      });
    return flight;
  }

  #landed(batch: Batch, branches: readonly BranchMove[], heads: ReadonlyMap<Hash, Head | undefined>): void {
    for (const retiring of batch.retiring) retiring.durable = true;
    // Nobody waits for it.
    setImmediate(() => remember(batch));
    for (const { kind, hash, bytes } of batch.objects) if (kind === "value") this.#onValue(hash, bytes);
    for (const hash of batch.commits) {
      const saved = this.#working.unsaved.get(hash);
      if (saved !== undefined) this.#onCommit(hash, saved.commit, saved.changes);
      this.#working.unsaved.delete(hash);
    }
    // Dead tables of one map would keep what was in it (`UnderWay` says why).
    this.#working.unsaved = new Map(this.#working.unsaved);
    for (const move of branches) {
      this.#durable.move(move);
      const head = heads.get(move.id);
      if (head === undefined || move.next === null) this.#durableHeads.delete(move.id);
      else this.#durableHeads.set(move.id, head);
    }
    for (const settle of batch.settle) settle();
    if (branches.length > 0) {
      this.#onDurable(branches.map(({ id, name, expected, next }) => ({ branch: id, name, from: expected, to: next })));
    }
  }

  /**
   * A transaction was not applied, or nobody knows. Its requests are told so; where another daemon had moved a branch
   * they can be computed again on what is there now, and are returned.
   */
  async #refused(batch: Batch, error: unknown): Promise<Job[]> {
    let raced = error instanceof BranchConflict;
    try {
      await this.#lookAgain();
    } catch {
      // The storage is away: the requests are refused below.
      raced = false;
      this.#inDoubt = true;
    }
    const again = batch.jobs.filter((job) => raced && job.attempts < ATTEMPTS);
    for (const job of batch.jobs) if (!again.includes(job)) job.reject(unavailable(error));
    return again;
  }

  /** Reads the branches anew: what is computed on where they were might be done twice. */
  async #lookAgain(): Promise<void> {
    const before = this.#durable;
    this.#durable = new BranchTable(await this.#storage.branches());
    this.#inDoubt = false;
    const moves: DurableMove[] = [];
    for (const { id, name, head } of this.#durable.all()) {
      const from = before.byId(id)?.head ?? null;
      if (from === head) continue;
      this.#durableHeads.delete(id);
      moves.push({ branch: id, name, from, to: head });
    }
    if (moves.length > 0) this.#onDurable(moves);
  }

  /** Before anything is computed or removed again; what waits is refused while the storage is away. */
  async #settleDoubt(): Promise<void> {
    try {
      await this.#lookAgain();
      this.#startOver([]);
    } catch (error) {
      for (const { reject } of [...this.#queue.splice(0), ...this.#alone.splice(0)]) reject(unavailable(error));
    }
  }

  /** Goes back to the durable state and computes these requests again. */
  #startOver(jobs: readonly Job[]): void {
    this.#queue.unshift(...jobs);
    this.#working = { table: this.#durable.copy(), heads: new Map(this.#durableHeads), unsaved: new Map() };
  }

  #now(): number {
    return this.#committer.now().getTime();
  }
}

/** Only nodes that were stored: those between are of no use to anybody. */
function remember({ retiring }: Pick<Batch, "retiring">): void {
  for (const { nodes } of retiring) for (const [hash, node] of nodes) Objects.rememberNode(hash, node);
}

function replyOf({ id, request, reply }: StoredReply, once: Idempotency | undefined): unknown {
  if (request !== once?.request) throw reusedId(id);
  return JSON.parse(reply);
}

function unavailable(error: unknown): VlinderError {
  const cause = asVlinderError(error);
  if (cause.code === "unavailable") return cause;
  return new VlinderError("unavailable", `the write could not be stored: ${cause.message}`, {
    cause: error,
    remedy: "nothing was changed; try again",
  });
}
