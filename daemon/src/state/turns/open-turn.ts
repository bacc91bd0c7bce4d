import { type BranchName, type CommitEvent, type Hash, invalid, type Key, VlinderError } from "@vlinder/protocol";
import { andThen } from "../and-then.ts";
import type { Space } from "../api.ts";
import { askedOf, isPut, once, sizeOf } from "../asked.ts";
import type { Idempotency } from "../batch.ts";
import { BranchTable } from "../branch-table.ts";
import { Draft, type LiveBranch, type Working } from "../draft.ts";
import type { Found } from "../found.ts";
import type { Head } from "../head.ts";
import { type Op, write, type WriteReply } from "../mutations.ts";
import { isPlain, type UploadedWrite } from "../uploads.ts";
import { StateView } from "../view.ts";
import { NotedView } from "./noted-view.ts";
import { ReadLog } from "./read-log.ts";
import { Remembered } from "./remembered.ts";
import { recorded, storeValues } from "./recorded.ts";
import { RunningEffects } from "./running-effects.ts";
import type { Ending, Expected, Instead, TurnEvent, TurnFacts, TurnGround } from "./turn-ground.ts";
import { turnNote } from "./turn-note.ts";
import { type Taken, Unstored } from "./unstored.ts";

/** What of a chain is not stored yet is stored beside the turn's work when it is more than this, or older. */
const STORE_OVER = { bytes: 1 << 20, commits: 256 };
const STORE_AFTER_MS = 500;
/** Over it the turn's writes wait for the storage. */
const MOST_UNSTORED = 8 << 20;

/**
 * A turn's private chain of commits: from the branch's head, in memory, seen by nobody else. Writes are answered
 * from it at once. Whatever of it is stored before the turn ends is reached only from the turn's note.
 */
export class OpenTurn implements TurnFacts {
  readonly turn: string;
  readonly session: string;
  readonly first: string;
  readonly isReplay: boolean;
  readonly branch: LiveBranch;
  readonly started: number;
  readonly deadline: number;
  readonly instead: Instead;
  readonly reads = new ReadLog();
  /** What it was told to do in the outside world. */
  readonly effects = new RunningEffects();
  readonly #over = new AbortController();
  readonly #ground: TurnGround;
  readonly #working: Working;
  readonly #expected = new Map<string, Expected>();
  readonly #written: Readonly<Record<Space, Set<Key>>> = { kv: new Set(), vectors: new Set() };
  readonly #replies = new Remembered<WriteReply>();
  /** Uploads' objects that the chain rests on and does not store itself. */
  readonly #relied = new Set<Hash>();
  readonly #unstored = new Unstored();
  /** The last of what is computed; null: nothing is. */
  #last: Promise<unknown> | null = null;
  #storing: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #ending: Ending | null = null;
  #ended = false;
  /** The first commit of its chain. */
  invoked: Hash;

  /** The chain's first commit is computed with `begin`. */
  private constructor(ground: TurnGround, facts: TurnFacts, base: Head) {
    this.#ground = ground;
    this.turn = facts.turn;
    this.session = facts.session;
    this.first = facts.first;
    this.isReplay = facts.isReplay;
    this.branch = facts.branch;
    this.instead = facts.instead;
    this.started = facts.started;
    this.deadline = facts.deadline;
    this.invoked = base.commit;
    const table = new BranchTable([facts.branch]);
    this.#working = { table, heads: new Map([[facts.branch.id, base]]), unsaved: new Map() };
  }

  /** Begins a turn on a state that is durable. */
  static async begin(ground: TurnGround, facts: TurnFacts, base: Head, event: TurnEvent): Promise<OpenTurn> {
    ground.watch.commit(base.commit);
    const turn = new OpenTurn(ground, facts, base);
    turn.invoked = await turn.#append(event);
    return turn;
  }

  /** Aborted when the turn has ended, however it did. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** It has ended: what still goes on for it ends, too. */
  ended(how: string): void {
    this.#over.abort(new VlinderError("conflict", `the turn has ended: ${how}`, { details: { turn: this.turn } }));
  }

  get branchName(): BranchName {
    return this.branch.name as BranchName;
  }

  /** The branch's head that the turn began from. */
  get base(): Hash {
    return this.branch.head;
  }

  get head(): Head {
    return this.#working.heads.get(this.branch.id) as Head;
  }

  get unstored(): number {
    return this.#unstored.bytes;
  }

  /** Objects of uploads that only this turn needs: for gc. */
  get relied(): ReadonlySet<Hash> {
    return this.#relied;
  }

  get expected(): Iterable<Expected> {
    return this.#expected.values();
  }

  // Reads: the chain's own state.

  /** The chain's state; what is read of it is noted. */
  view(): StateView {
    return new NotedView(this.head, this.#ground.objects, this.saw);
  }

  /** As the engine's; a read of the past goes there. @throws invalid for another branch */
  stateOf(branch?: BranchName, at?: string): StateView | Promise<StateView> {
    this.#checkBranch(branch);
    return at === undefined ? this.view() : this.#ground.past(at);
  }

  /** The state for a search, which reads more than it answers. All of it is stored. @throws unavailable */
  async searched(): Promise<StateView> {
    await this.flush();
    return new StateView(this.head, this.#ground.objects);
  }

  /** As the engine's. */
  find(key: Key, branch?: BranchName, at?: string): Found | Promise<Found> {
    this.#checkBranch(branch);
    if (at !== undefined) return this.#ground.findInPast(key, at);
    const view = this.view();
    return andThen(view.getNow("kv", key), (entry) => {
      return this.#ground.reads.found(view.commit, entry, this.#unstored.find);
    });
  }

  /** Notes that a key was read; null: it was not there. What the turn wrote itself says nothing of where it began. */
  readonly saw = (space: Space, key: Key, hash: Hash | null): void => {
    if (!this.#written[space].has(key)) this.reads.saw(space, key, hash);
  };

  requiredValue(hash: Hash, size: number): Promise<Uint8Array> {
    return this.#ground.reads.value(hash, size, this.#unstored.find);
  }

  range(hash: Hash, size: number, start: number, end: number): Promise<Uint8Array> {
    return this.#ground.reads.range(hash, size, start, end, this.#unstored.find);
  }

  // Writes: answered from the chain.

  /** One request's changes as a commit of the chain. @throws conflict, invalid, quota_exceeded, not_declared, not_found of an upload */
  write(request: UploadedWrite, id?: string): WriteReply | Promise<WriteReply> {
    this.#checkOpen();
    this.#checkBranch(request.branch);
    const mine = { ...request, branch: this.branchName, session: this.session, turn: this.turn };
    return this.#replies.once(once(id, askedOf(mine)), () => {
      const room = this.#room(mine);
      return andThen(room, () => andThen(this.#writeNow(mine), (reply) => this.#took(mine, reply)));
    });
  }

  /** A commit without changes: a call, an effect. Returns it. */
  async record(event: TurnEvent): Promise<Hash> {
    return this.#append(event);
  }

  async #append(event: TurnEvent): Promise<Hash> {
    const told = recorded(event);
    return await this.#compute(async (draft) => {
      storeValues(draft, told);
      const head = await draft.commit(draft.table.required(this.branchName), {}, this.told(told.event));
      return head.commit;
    });
  }

  told(event: CommitEvent): { event: CommitEvent; session: string; turn: string } {
    return { event, session: this.session, turn: this.turn };
  }

  #writeNow(request: UploadedWrite): WriteReply | Promise<WriteReply> {
    if (isPlain(request)) return this.#compute((draft) => write(draft, request));
    const rely = (hashes: Iterable<Hash>): void => {
      for (const hash of hashes) this.#relied.add(hash);
    };
    return this.#ground.uploads.write(request, async (work) => this.#compute(work), rely);
  }

  /** Over a limit of unstored bytes writes wait; the agent's own limit refuses them. */
  #room({ ops }: UploadedWrite): void | Promise<void> {
    const admitted = ops.some(isPut) ? this.#ground.quota().admit(() => sizeOf(ops)) : undefined;
    return this.#unstored.bytes > MOST_UNSTORED ? andThen(admitted, () => this.flush()) : admitted;
  }

  #took({ space, ops }: UploadedWrite, reply: WriteReply): WriteReply {
    for (const op of ops) {
      this.#noteExpected(space, op);
      this.#written[space].add(op.key);
    }
    const { bytes, commits } = this.#unstored;
    if (bytes > STORE_OVER.bytes || commits.length > STORE_OVER.commits) this.#flushSoon(0);
    else this.#flushSoon(STORE_AFTER_MS);
    return reply;
  }

  /** Of what the turn has written itself it expects nothing of the branch. */
  #noteExpected(space: Space, { key, expect }: Pick<Op, "key" | "expect">): void {
    const name = `${space} ${key}`;
    if (expect === undefined || this.#written[space].has(key) || this.#expected.has(name)) return;
    this.#expected.set(name, { space, key, hash: expect });
  }

  /** One after the other: each builds on the one before. At once where it can be. */
  #compute<T>(work: (draft: Draft) => T | Promise<T>): T | Promise<T> {
    // It may have waited for room, or for an upload.
    this.#checkOpen();
    const run = (): T | Promise<T> => {
      const draft = new Draft(this.#working, this.#ground.source, this.#ground.committer);
      const failed = (error: unknown): never => {
        draft.drop();
        throw error;
      };
      try {
        const done = andThen(work(draft), (reply) => this.#take(draft, reply));
        return done instanceof Promise ? done.catch(failed) : done;
      } catch (error) {
        return failed(error);
      }
    };
    const result = this.#last === null ? run() : this.#last.then(run);
    if (!(result instanceof Promise)) return result;
    const last = result
      .catch(() => {})
      .finally(() => {
        if (this.#last === last) this.#last = null;
      });
    this.#last = last;
    return result;
  }

  #take<T>(draft: Draft, reply: T): T {
    this.#unstored.take(draft);
    const { watch } = this.#ground;
    if (watch.isActive) for (const { kind, hash } of draft.objects) watch.object(kind, hash);
    draft.fold();
    return reply;
  }

  // Storing the chain, and ending the turn.

  /** Puts what is not stored of the chain, and the note that leads to it, into a transaction. */
  store(draft: Draft): Taken {
    const { turn, session, base } = this;
    const { id } = this.branch;
    const head = this.head.commit;
    draft.notes.push(turnNote({ turn, session, branch: id, name: this.branchName, base, head }));
    this.#announce(draft);
    return this.#unstored.store(draft);
  }

  /** Makes the whole chain part of a transaction that ends the turn. */
  handOver(draft: Draft): void {
    this.#unstored.store(draft);
    this.#announce(draft);
  }

  /** Who is told of stored commits need not read them back. */
  #announce(draft: Draft): void {
    for (const hash of this.#unstored.commits) {
      const unsaved = this.#working.unsaved.get(hash);
      if (unsaved !== undefined) draft.unsaved.set(hash, unsaved);
    }
  }

  /**
   * Stores the chain as it is now; waits for a storing that is under way. What ends the turn stores it all: whatever was stored
   * behind that would bring the turn's note back. @throws unavailable
   */
  async flush(): Promise<void> {
    for (;;) {
      if (this.#storing !== null) await this.#storing.catch(() => {});
      else if (this.#ending === null || this.#ended) break;
      else await this.#ending.over;
    }
    if (!this.#ended && !this.#unstored.isEmpty) await this.#store();
  }

  /** Stores the beginning, with the reply that its id gets. @throws unavailable */
  async storeBeginning(reply: object, asked: Idempotency | undefined): Promise<void> {
    await this.#store(reply, asked);
  }

  #store(reply: object = {}, asked?: Idempotency): Promise<void> {
    this.#stopTimer();
    let taken: Taken | null = null;
    const storing = this.#ground.writer
      .write((draft) => {
        taken = this.store(draft);
        return reply;
      }, asked)
      .then(() => {
        if (taken !== null) this.#stored(taken);
      })
      .finally(() => {
        this.#storing = null;
      });
    this.#storing = storing;
    return storing;
  }

  #stored(taken: Taken): void {
    for (const hash of this.#unstored.drop(taken)) this.#working.unsaved.delete(hash);
  }

  #flushSoon(milliseconds: number): void {
    if (this.#storing !== null) return;
    if (milliseconds > 0 && this.#timer !== null) return;
    this.#stopTimer();
    // What the storage refuses stays in memory, and the end of the turn meets it again.
    this.#timer = setTimeout(() => void this.flush().catch(() => {}), milliseconds).unref();
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** A draft on the end of the chain, which is not part of it: to compute a last commit that may not come to be. */
  ending(): Draft {
    return new Draft(this.#working, this.#ground.source, this.#ground.committer);
  }

  /**
   * No more is taken until `reopen`; waits for what is computed. The same `by` may close it twice; whether this was the
   * first time. @throws conflict, when something else is ending it
   */
  async close(how: string, by?: string): Promise<boolean> {
    if (by === undefined || this.#ending?.by !== by) this.#checkOpen();
    const isFirst = this.#ending === null;
    if (isFirst) {
      const { promise: over, resolve: settle } = Promise.withResolvers<void>();
      this.#ending = { how, by, over, settle };
    }
    this.#stopTimer();
    while (this.#last !== null) await this.#last;
    return isFirst;
  }

  reopen(): void {
    this.#ending?.settle();
    this.#ending = null;
  }

  /** It has ended, and all of it is stored. */
  finish(): void {
    this.#ended = true;
    this.#stopTimer();
    this.#ending?.settle();
  }

  /** Waits while something is ending it. Whether it goes on. */
  async goesOn(): Promise<boolean> {
    while (this.#ending !== null && !this.#ended) await this.#ending.over;
    return !this.#ended;
  }

  #checkOpen(): void {
    if (this.#ending === null) return;
    throw new VlinderError("conflict", `the turn "${this.turn}" is being ended: ${this.#ending.how}`, {
      details: { turn: this.turn },
      remedy: "begin another turn",
    });
  }

  #checkBranch(branch: BranchName | undefined): void {
    if (branch === undefined || branch === this.branch.name) return;
    throw invalid(`the turn "${this.turn}" is on the branch "${this.branch.name}", not on "${branch}"`, {
      details: { turn: this.turn, branch: this.branch.name },
      remedy: "leave the branch out, or leave the turn out",
    });
  }
}
