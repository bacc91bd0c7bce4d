import { type BranchName, type CommitEvent, type Hash, invalid, type Key, VlinderError } from "@vlinder/protocol";
import type { Kept } from "../../storage/object-storage.ts";
import { andThen } from "../and-then.ts";
import type { Space } from "../api.ts";
import { askedOf, isPut, sizeOf } from "../asked.ts";
import type { Idempotency, Work } from "../batch.ts";
import { BranchTable } from "../branch-table.ts";
import { Draft, type LiveBranch, type Working } from "../draft.ts";
import type { Found } from "../found.ts";
import type { Head } from "../head.ts";
import { write, type WriteReply } from "../mutations.ts";
import { isPlain, type UploadedWrite } from "../uploads.ts";
import { getEntry } from "../tree/read.ts";
import { StateView } from "../view.ts";
import type { Ended } from "./ended.ts";
import { Ending } from "./ending.ts";
import { NotedView } from "./noted-view.ts";
import { Trace } from "./trace.ts";
import { recorded, storeValues } from "./recorded.ts";
import { ReplyMemory } from "./reply-memory.ts";
import { RunningEffects } from "./running-effects.ts";
import { type Chain, Storing } from "./storing.ts";
import type { Instead, TurnEvent, TurnFacts, TurnGround } from "./turn-ground.ts";
import { turnNote } from "./turn-note.ts";
import { type Taken, Unstored } from "./unstored.ts";

/** What of a chain is not stored yet is stored beside the turn's work when it is more than this. */
const STORE_OVER = { bytes: 1 << 20, commits: 256 };
/** Over it the turn's writes wait for the storage. */
const MOST_UNSTORED = 8 << 20;

/**
 * A turn's private chain of commits: from the branch's head, in memory, seen by nobody else. Writes are answered
 * from it at once. Whatever of it is stored before the turn ends is reached only from the turn's note.
 */
export class OpenTurn implements TurnFacts, Chain {
  readonly turn: string;
  readonly session: string;
  readonly first: string;
  readonly isReplay: boolean;
  readonly branch: LiveBranch;
  readonly isFork: boolean;
  readonly started: number;
  readonly deadline: number;
  readonly instead: Instead;
  /** What it read and expected of the state that it began from. */
  readonly trace = new Trace();
  /** What it was told to do in the outside world. */
  readonly effects = new RunningEffects();
  /** Null: nobody has asked for its signal. */
  #over: AbortController | null = null;
  /** Ends of it whose transactions failed, as far as is known: one may have been applied all the same. */
  readonly tried: Ended[] = [];
  readonly #ground: TurnGround;
  /** The state that it began from: what it has not changed is read there, and is at hand for all who read at that head. */
  readonly #baseView: StateView;
  readonly #working: Working;
  readonly #replies = new ReplyMemory<WriteReply>();
  /** Uploads' objects that the chain rests on and does not store itself. */
  readonly #relied = new Set<Hash>();
  readonly #unstored = new Unstored();
  /** The last of what is computed; null: nothing is. */
  #last: Promise<unknown> | null = null;
  readonly #ending: Ending;
  readonly storing: Storing;
  /** How it has ended; null: it has not. */
  end: Ended | null = null;
  /** The contract that it began from. */
  readonly contract: Hash | null;
  /** The first commit of its chain. */
  invoked: Hash;

  /** The chain's first commit is computed with `begin`. */
  private constructor(ground: TurnGround, facts: TurnFacts, base: Head) {
    this.#ground = ground;
    this.turn = facts.turn;
    this.#ending = new Ending(facts.turn);
    this.storing = new Storing(this, this.#ending, ground.writer);
    this.session = facts.session;
    this.first = facts.first;
    this.isReplay = facts.isReplay;
    this.branch = facts.branch;
    this.isFork = facts.isFork;
    this.instead = facts.instead;
    this.started = facts.started;
    this.deadline = facts.deadline;
    this.invoked = base.commit;
    this.contract = base.snapshot.contract;
    this.#baseView = new StateView(base, ground.objects);
    const table = new BranchTable([facts.branch]);
    this.#working = { table, heads: new Map([[facts.branch.id, base]]), unsaved: new Map() };
  }

  /** Begins a turn on a state that is durable. */
  static async begin(ground: TurnGround, facts: TurnFacts, base: Head, event: TurnEvent): Promise<OpenTurn> {
    ground.watch.commit(base.commit);
    const turn = new OpenTurn(ground, facts, base);
    turn.invoked = await turn.record(event);
    return turn;
  }

  /** Aborted when the turn has ended, however it did. */
  get signal(): AbortSignal {
    if (this.#over === null) {
      this.#over = new AbortController();
      this.#abort();
    }
    return this.#over.signal;
  }

  /** It has ended: what still goes on for it ends, too. */
  ended(end: Ended): void {
    this.end = end;
    this.#ending.finish();
    this.storing.finish();
    this.#abort();
  }

  #abort(): void {
    const { end, turn } = this;
    if (end === null || this.#over === null) return;
    const how = end.kind === "completed" ? "it was completed" : end.reason;
    this.#over.abort(new VlinderError("conflict", `the turn has ended: ${how}`, { details: { turn } }));
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

  get isStored(): boolean {
    return this.#unstored.isEmpty;
  }

  get unstored(): number {
    return this.#unstored.bytes;
  }

  /** Objects of uploads that only this turn needs: for gc. */
  get relied(): ReadonlySet<Hash> {
    return this.#relied;
  }

  // Reads: the chain's own state.

  /** The chain's state; what is read of it is noted. */
  view(): StateView {
    return new NotedView(this.head, this.#ground.objects, this.trace.noting());
  }

  /** As the engine's; a read of the past goes there. @throws invalid for another branch */
  stateOf(branch?: BranchName, at?: string): StateView | Promise<StateView> {
    this.#checkBranch(branch);
    return at === undefined ? this.view() : this.#ground.past(at);
  }

  /** The state for a search, which reads more than it answers. All of it is stored. @throws unavailable, conflict */
  async searched(): Promise<StateView> {
    const head = await this.storing.flush();
    this.#ending.check();
    return new StateView(head, this.#ground.objects);
  }

  /** As the engine's. */
  find(key: Key, branch?: BranchName, at?: string): Found | Promise<Found> {
    this.#checkBranch(branch);
    if (at !== undefined) return this.#ground.findInPast(key, at);
    const { commit, nodes, snapshot } = this.head;
    const { reads } = this.#ground;
    const saw = this.trace.noting();
    const read = this.#isOfHead(key) ? reads.entries.find(this.#baseView, key) : getEntry(nodes, snapshot.kv, key);
    return andThen(read, (entry) => {
      saw("kv", key, entry?.hash ?? null);
      return reads.found(commit, entry, this.#unstored.find);
    });
  }

  /** Whether a key holds what it holds at the branch's head. */
  #isOfHead(key: Key): boolean {
    const { commit } = this.#baseView;
    return this.#ground.writer.durableHead(this.branch.id)?.commit === commit && !this.trace.hasWritten("kv", key);
  }

  /** Notes that a key was read; null: it was not there. */
  saw(space: Space, key: Key, hash: Hash | null): void {
    this.trace.saw(space, key, hash);
  }

  requiredValue(hash: Hash, size: number): Promise<Uint8Array> {
    return this.#ground.reads.value(hash, size, this.#unstored.find);
  }

  range(hash: Hash, size: number, start: number, end: number): Promise<Uint8Array> {
    return this.#ground.reads.range(hash, size, start, end, this.#unstored.find);
  }

  // Writes: answered from the chain.

  /** One request's changes as a commit of the chain. @throws conflict, invalid, quota_exceeded, not_declared, not_found of an upload */
  write(request: UploadedWrite, id?: string): WriteReply | Promise<WriteReply> {
    this.#ending.check();
    this.#checkBranch(request.branch);
    const mine = { ...request, branch: this.branchName, session: this.session, turn: this.turn };
    return this.#replies.once(id, askedOf(mine), () => this.#writeNow(mine));
  }

  /** A commit without changes: a call, an effect. Returns it. @throws conflict */
  async record(event: TurnEvent): Promise<Hash> {
    const told = recorded(event);
    const work: Work<Hash> = async (draft) => {
      // Answers of models are large.
      if (this.#unstored.bytes > MOST_UNSTORED) await this.storing.flush();
      storeValues(draft, told);
      const head = await draft.commit(draft.table.required(this.branchName), {}, this.told(told.event));
      return head.commit;
    };
    return await this.#compute(work, () => this.#grew());
  }

  told(event: CommitEvent): { event: CommitEvent; session: string; turn: string } {
    return { event, session: this.session, turn: this.turn };
  }

  /** What waits for room keeps its place: writes become commits in the order in which they came. */
  #writeNow(request: UploadedWrite): WriteReply | Promise<WriteReply> {
    const computed = (work: Work<WriteReply>): WriteReply | Promise<WriteReply> =>
      this.#compute(
        (draft) => andThen(this.#room(request), () => work(draft)),
        (reply) => this.#took(request, reply),
      );
    if (isPlain(request)) return computed((draft) => write(draft, request));
    const rely = (hashes: Iterable<Hash>): void => {
      for (const hash of hashes) this.#relied.add(hash);
    };
    return this.#ground.uploads.write(request, async (work) => computed(work), rely);
  }

  /** Over a limit of unstored bytes writes wait; the agent's own limit refuses them. */
  #room({ ops }: UploadedWrite): void | Promise<void> {
    const admitted = ops.some(isPut) ? this.#ground.quota().admit(() => sizeOf(ops)) : undefined;
    if (this.#unstored.bytes <= MOST_UNSTORED) return admitted;
    return andThen(admitted, async () => void (await this.storing.flush()));
  }

  #took({ space, ops }: UploadedWrite, { applied }: WriteReply): void {
    this.trace.wrote(space, ops, applied);
    this.#grew();
  }

  #grew(): void {
    const { bytes, commits } = this.#unstored;
    this.storing.soon(bytes > STORE_OVER.bytes || commits.length > STORE_OVER.commits ? 0 : undefined);
  }

  /** One after the other: each builds on the one before. At once where it can be. `took` is called as it becomes part of the chain. */
  #compute<T>(work: Work<T>, took: (reply: T) => void = () => {}): T | Promise<T> {
    // It may have waited for an upload.
    this.#ending.check();
    const run = (): T | Promise<T> => {
      const draft = new Draft(this.#working, this.#ground.source, this.#ground.committer);
      const failed = (error: unknown): never => {
        draft.drop();
        throw error;
      };
      try {
        const done = andThen(work(draft), (reply) => {
          this.#take(draft);
          took(reply);
          return reply;
        });
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

  #take(draft: Draft): void {
    this.#unstored.take(draft);
    const { watch } = this.#ground;
    if (watch.isActive) for (const { kind, hash } of draft.objects) watch.object(kind, hash);
    draft.fold();
  }

  // Storing the chain, and ending the turn.

  /** Puts what is not stored of the chain, and the note that leads to it, into a transaction. */
  store(draft: Draft): Taken {
    const { turn, session, base } = this;
    const { id } = this.branch;
    const head = this.head.commit;
    draft.notes.push(turnNote({ turn, session, branch: id, name: this.branchName, base, head }));
    return this.handOver(draft);
  }

  keep(reply: object, asked: Idempotency | undefined): Kept | null {
    const draft = this.ending();
    this.store(draft);
    const objects = draft.objects.map(({ kind, hash, bytes }) => ({ kind, hash, bytes }));
    const time = draft.now().getTime();
    const replies = asked === undefined ? [] : [{ ...asked, reply: JSON.stringify(reply), time }];
    return this.#ground.keep({ objects, replies, notes: draft.notes, commit: this.invoked, base: this.base });
  }

  /** Makes the whole chain part of a transaction that ends the turn. */
  handOver(draft: Draft): Taken {
    // Who is told of stored commits need not read them back.
    for (const hash of this.#unstored.commits) {
      const unsaved = this.#working.unsaved.get(hash);
      if (unsaved !== undefined) draft.unsaved.set(hash, unsaved);
    }
    return this.#unstored.store(draft);
  }

  stored(taken: Taken): void {
    for (const hash of this.#unstored.drop(taken)) this.#working.unsaved.delete(hash);
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
    const isFirst = this.#ending.begin(how, by);
    this.storing.close();
    while (this.#last !== null) await this.#last;
    return isFirst;
  }

  reopen(): void {
    this.#ending.reopen();
    this.storeSoon();
  }

  /** What the storage refused is tried again. */
  storeSoon(): void {
    if (!this.#unstored.isEmpty && !this.#ending.isOn) this.storing.soon();
  }

  /** Waits while something is ending it. Whether it goes on. */
  readonly goesOn = (): Promise<boolean> => this.#ending.goesOn();

  #checkBranch(branch: BranchName | undefined): void {
    if (branch === undefined || branch === this.branch.name) return;
    throw invalid(`the turn "${this.turn}" is on the branch "${this.branch.name}", not on "${branch}"`, {
      details: { turn: this.turn, branch: this.branch.name },
      remedy: "leave the branch out, or leave the turn out",
    });
  }
}
