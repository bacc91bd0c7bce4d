import {
  type AgentName,
  type BranchName,
  changeCount,
  type Changes,
  CHUNKED_OVER,
  type Commit,
  type CommitEvent,
  type DeviceId,
  encodeChanges,
  encodeCommit,
  type Hash,
  hashSnapshot,
  INLINE_CHANGES,
  sha256,
  type Snapshot,
  VlinderError,
} from "@vlinder/protocol";
import type { BranchMove, Note, StoredBranch, StoredObject } from "../storage/object-storage.ts";
import { andThen } from "./and-then.ts";
import type { BranchTable } from "./branch-table.ts";
import { valueObjects } from "./value-cutter.ts";
import { adopted, advance, type Applied, applyChanges, type Head, type Retiring } from "./head.ts";
import { OverlaidSource, type Source, type Unsaved } from "./source.ts";

/** What a commit says beside its changes. */
export interface Told {
  readonly event: CommitEvent;
  readonly session?: string;
  readonly turn?: string;
}

/** The state that the next request builds on: what is durable, and what is on its way there. */
export interface Working {
  readonly table: BranchTable;
  /** By branch id, where they are at hand. */
  readonly heads: Map<Hash, Head>;
  unsaved: Map<Hash, Unsaved>;
}

/** Who commits here, and when. */
export interface Committer {
  readonly agent: AgentName;
  device(): DeviceId;
  now(): Date;
}

let lastSecond = { seconds: Number.NaN, text: "" };

/** Many commits are of the same second. */
function isoTime(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (lastSecond.seconds !== seconds) {
    lastSecond = { seconds, text: new Date(seconds * 1000).toISOString().slice(0, -4) };
  }
  return `${lastSecond.text}${String(milliseconds - seconds * 1000).padStart(3, "0")}Z`;
}

/** Where a branch is; head null: it is new. */
export interface Place {
  readonly id: Hash;
  readonly name: string;
  readonly head: Hash | null;
}

/** What a move leaves on its branch besides the head. */
export type Mark = Pick<BranchMove, "sealed" | "deleted">;

export type LiveBranch = StoredBranch & { readonly head: Hash };

/** A branch that may be written to. @throws not_found, sealed */
export function writableBranch(table: BranchTable, name: BranchName, agent: AgentName): LiveBranch {
  const branch = table.required(name);
  if (!branch.sealed) return branch;
  throw new VlinderError("sealed", `the branch "${name}" is sealed`, {
    details: { branch: name },
    remedy: `fork it to go on from there: vlinder fork ${agent} --from ${name} --name NAME`,
  });
}

/** Changes as a commit has them: its own, or the hash of a change list. */
export function storedChanges(changes: Changes): Changes | Hash {
  return changeCount(changes) > INLINE_CHANGES ? sha256(encodeChanges(changes)) : changes;
}

/**
 * What one request wants to write: objects and moves, computed and not yet stored. Only a draft can
 * write. It is folded into the working state when its request has been computed to the end, and
 * dropped whole when that throws.
 */
export class Draft {
  readonly objects: StoredObject[] = [];
  readonly moves: BranchMove[] = [];
  readonly notes: Note[] = [];
  /** Layers of nodes that this draft stores. */
  readonly retiring: Retiring[] = [];
  /** Commits of this draft. */
  readonly unsaved = new Map<Hash, Unsaved>();
  readonly table: BranchTable;
  readonly #stored: Source;
  readonly #working: Working;
  readonly #committer: Committer;
  #source: Source | null = null;
  #time: string | null = null;
  readonly #heads = new Map<Hash, Head>();
  readonly #before = new Map<Hash, StoredBranch | undefined>();

  constructor(working: Working, stored: Source, committer: Committer) {
    this.#working = working;
    this.#committer = committer;
    this.table = working.table;
    this.#stored = stored;
  }

  /** What is stored, what is on its way there, and what this draft made. */
  get source(): Source {
    return (this.#source ??= new OverlaidSource(this.#stored, [this.unsaved, this.#working.unsaved]));
  }

  get agent(): AgentName {
    return this.#committer.agent;
  }

  now(): Date {
    return this.#committer.now();
  }

  /** One moment for all that a draft does. */
  get #now(): string {
    return (this.#time ??= isoTime(this.now().getTime()));
  }

  device(): DeviceId {
    return this.#committer.device();
  }

  /** @throws not_found, sealed */
  writable(name: BranchName): LiveBranch {
    return writableBranch(this.table, name, this.agent);
  }

  head(branch: LiveBranch): Head | Promise<Head> {
    return this.#heads.get(branch.id) ?? this.#working.heads.get(branch.id) ?? this.source.at(branch.head);
  }

  value(hash: Hash, bytes: Uint8Array): void {
    if (bytes.length <= CHUNKED_OVER) this.objects.push({ kind: "value", hash, bytes });
    else for (const object of valueObjects(hash, bytes)) this.objects.push(object);
  }

  /** Makes a commit with changes on a branch and moves the branch to it. */
  commit(branch: LiveBranch, changes: Changes, told: Told): Head | Promise<Head> {
    return andThen(this.head(branch), (parent) =>
      andThen(applyChanges(parent, changes), (state) => {
        const listed = changeCount(changes) === 0 ? {} : { changes: storedChanges(changes) };
        const commit = this.#next(branch, [parent], state.snapshot, told, listed);
        return this.#append(branch, parent, commit, changes, state, told.event.kind);
      }),
    );
  }

  /** Takes another commit's keys and vectors as a commit on top of the branch. */
  async rewind(branch: LiveBranch, adopts: Hash, told: Told): Promise<Head> {
    const parent = await this.head(branch);
    const state = adopted(parent, await this.source.at(adopts));
    const commit = this.#next(branch, [parent], state.snapshot, told, { adopts });
    return this.#append(branch, parent, commit, {}, state, `rewind to ${adopts.slice(0, 12)}`);
  }

  /** Takes another head's keys and vectors, under this contract, as a commit on top of both. */
  async promote(branch: LiveBranch, theirs: Head, contract: Hash | null, told: Told, why: string): Promise<Head> {
    const ours = await this.head(branch);
    const changes: Changes = contract === null || contract === theirs.snapshot.contract ? {} : { contract };
    const state = await applyChanges(theirs, changes);
    const listed = changeCount(changes) === 0 ? {} : { changes };
    const commit = this.#next(branch, [theirs, ours], state.snapshot, told, listed);
    return this.#append(branch, theirs, commit, changes, state, why);
  }

  /** Adds a commit that was computed elsewhere (the first ones, a merge) to its first parent's state, and moves the branch to it. */
  async place(
    branch: Place,
    parent: Head,
    commit: Commit,
    changes: Changes,
    why: string,
    mark: Mark = {},
  ): Promise<Head> {
    const state = await applyChanges(parent, changes);
    if (hashSnapshot(state.snapshot) !== commit.snapshot)
      throw new Error("a computed commit does not give its snapshot");
    return this.#append(branch, parent, commit, changes, state, why, mark);
  }

  /** Moves a branch to a state that has a commit already; null deletes it. */
  move(branch: Place, next: Head | null, why: string, mark: Mark = {}): void {
    const move: BranchMove = {
      id: branch.id,
      name: branch.name,
      expected: branch.head,
      next: next?.commit ?? null,
      why,
      time: this.#now,
      ...mark,
    };
    this.moves.push(move);
    if (!this.#before.has(branch.id)) this.#before.set(branch.id, this.table.byId(branch.id));
    this.table.move(move);
    if (next === null) this.#heads.delete(branch.id);
    else this.#heads.set(branch.id, next);
  }

  /** Takes the branches back to where this draft found them. */
  drop(): void {
    for (const [id, branch] of this.#before) this.table.restore(id, branch);
  }

  /** Makes what this draft did the working state. */
  fold(): void {
    for (const id of this.#before.keys()) {
      const head = this.#heads.get(id);
      if (head === undefined) this.#working.heads.delete(id);
      else this.#working.heads.set(id, head);
    }
    for (const [hash, unsaved] of this.unsaved) this.#working.unsaved.set(hash, unsaved);
  }

  #next(
    branch: LiveBranch,
    parents: readonly Head[],
    snapshot: Snapshot,
    { event, session, turn }: Told,
    { changes, adopts }: Pick<Commit, "changes" | "adopts">,
  ): Commit {
    // A clock may go back; history does not.
    let time = this.#now;
    for (const parent of parents) if (parent.time > time) time = parent.time;
    return {
      v: 1,
      agent: this.agent,
      branch: branch.id,
      device: this.#committer.device(),
      parents: parents.map(({ commit }) => commit),
      snapshot: hashSnapshot(snapshot),
      time,
      event,
      ...(changes === undefined ? null : { changes }),
      ...(adopts === undefined ? null : { adopts }),
      ...(session === undefined ? null : { session }),
      ...(turn === undefined ? null : { turn }),
    };
  }

  #append(
    branch: Place,
    parent: Head,
    commit: Commit,
    changes: Changes,
    state: Applied,
    why: string,
    mark: Mark = {},
  ): Head {
    const bytes = Buffer.from(encodeCommit(commit), "utf8");
    const hash = sha256(bytes);
    this.objects.push({ kind: "commit", hash, bytes });
    if (typeof commit.changes === "string") {
      this.objects.push({ kind: "changes", hash: commit.changes, bytes: Buffer.from(encodeChanges(changes), "utf8") });
    }
    const { head, stored } = advance(parent, hash, commit, changes, state);
    for (const object of stored) this.objects.push(object);
    if (stored.length > 0 && head.retiring !== null) this.retiring.push(head.retiring);
    this.unsaved.set(hash, { commit, changes, head, objects: this.objects });
    this.move(branch, head, why, mark);
    return head;
  }
}
