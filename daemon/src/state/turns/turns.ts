import { randomUUID } from "node:crypto";
import { asVlinderError, type BranchName, type Hash, sha256, VlinderError } from "@vlinder/protocol";
import type { ObjectStorage, StoredNote } from "../../storage/object-storage.ts";
import { once } from "../asked.ts";
import type { Idempotency } from "../batch.ts";
import { type Draft, writableBranch } from "../draft.ts";
import { TwoGenerations } from "../two-generations.ts";
import { Effects } from "./effects.ts";
import type { Ended } from "./ended.ts";
import { recordLate } from "./late-event.ts";
import { abandon, complete, ended as endedBefore, keep, newBranch } from "./landing.ts";
import { OpenTurn } from "./open-turn.ts";
import { ReplyMemory } from "./reply-memory.ts";
import type { Instead, TurnEvent, TurnGround } from "./turn-ground.ts";
import { TurnIndex } from "./turn-index.ts";
import { parseTurnNote, TURN_NOTES } from "./turn-note.ts";

/** Said when something happened to a turn; its end is durable by then. */
export interface TurnNews {
  readonly turn: string;
  readonly session: string;
  readonly branch: string;
  readonly what: "begun" | Ended["kind"];
  readonly ended: Ended | null;
}

export interface Begun {
  readonly turn: string;
  readonly session: string;
  readonly branch: BranchName;
  /** The branch's head that the turn began from. */
  readonly base: Hash;
  /** The `invoke` commit: the state that its first read sees. */
  readonly state: Hash;
}

export interface BeginRequest {
  readonly branch: BranchName;
  /** A commit to begin from, on a new branch of that name, which comes to be when the turn is completed. */
  readonly from?: Hash;
  /** With `from`: a branch that has the name is a conflict; else the new one gets a number. */
  readonly exact?: boolean;
  /** Absent: a new one. */
  readonly session?: string;
  readonly input?: Uint8Array;
  /** Milliseconds until it is ended by itself; default 10 minutes. */
  readonly limit?: number;
  /** The turn that this one does again. */
  readonly retries?: string;
  /** The turn that this one replays: it shares its effects, and does nothing anew in the outside world. */
  readonly replays?: string;
  /** Its calls are answered from that turn's; for the record. */
  readonly recorded?: boolean;
  readonly instead?: Instead;
}

const LIMIT = 10 * 60 * 1000;
/** setTimeout takes no more. */
const MOST_LIMIT = 2 ** 31 - 1;
const MOST_OPEN = 1024;
/** What the storage refused is tried again after so long, in milliseconds. */
const AGAIN = 5000;

/** An agent's open turns: each a private chain of commits, until it ends in its branch or beside it. */
export class Turns {
  readonly #ground: TurnGround;
  readonly #storage: ObjectStorage;
  /** Turns and sessions that are or were, as far as their commits are here. */
  readonly index: TurnIndex;
  /** What turns do in the outside world. */
  readonly effects: Effects;
  readonly #open = new Map<string, OpenTurn>();
  /** By the ids of their requests; older ones are stored. */
  readonly #begun = new ReplyMemory<Begun>();
  /** Turns whose beginning is on its way. */
  readonly #beginning = new Set<string>();
  readonly #deadlines = new Map<string, NodeJS.Timeout>();
  readonly #ended = new TwoGenerations<string, Ended["kind"]>(1000);
  readonly #tell: (news: TurnNews) => void;
  #restored: Promise<void> | null = null;
  #closed = false;

  constructor(ground: TurnGround, storage: ObjectStorage, tell: (news: TurnNews) => void) {
    this.#ground = ground;
    this.#storage = storage;
    this.#tell = tell;
    this.index = new TurnIndex(storage);
    this.effects = new Effects(ground, this);
  }

  /** Null: it is not open. */
  find(turn: string): OpenTurn | null {
    return this.#open.get(turn) ?? null;
  }

  /** @throws not_found */
  required(turn: string): OpenTurn {
    const open = this.#open.get(turn);
    if (open !== undefined) return open;
    const ended = this.#ended.get(turn);
    const how = ended === undefined ? "it never was, or ended before the daemon started" : `it ended: ${ended}`;
    throw new VlinderError("not_found", `there is no open turn "${turn}": ${how}`, {
      details: { turn, ...(ended === undefined ? {} : { ended }) },
      remedy: "begin another turn; `vlinder log` shows what became of this one",
    });
  }

  /**
   * A turn on a branch's head, answered from memory as all that a turn writes. With `durably` it is known after a crash,
   * when it resolves. @throws not_found, sealed, unavailable, conflict (of the id, or the turn to be done again is open)
   */
  async begin(request: BeginRequest, id?: string, durably = false): Promise<Begun> {
    const { input } = request;
    const asked = once(id, { begin: request.branch, ...request, input: input === undefined ? null : sha256(input) });
    return await this.#begun.once(id, asked?.request, async () => {
      const earlier = asked === undefined ? null : await this.#ground.writer.earlier(asked);
      return earlier === null ? await this.#begin(request, asked, durably) : (earlier as Begun);
    });
  }

  async #begin(request: BeginRequest, asked: Idempotency | undefined, durably: boolean): Promise<Begun> {
    const openOrSoon = this.#open.size + this.#beginning.size;
    if (openOrSoon >= MOST_OPEN) throw tooMany(openOrSoon);
    const { branch: name, from, exact = false, input, limit = LIMIT } = request;
    const { retries, replays, recorded = false, instead = {} } = request;
    const { writer, source, committer } = this.#ground;
    const turn = `t-${stamp()}`;
    const again = replays ?? retries;
    const first = again === undefined ? turn : await this.#firstOf(again);
    const session = request.session ?? `s-${stamp()}`;
    const branch =
      from === undefined
        ? writableBranch(writer.branches, name, committer.agent)
        : newBranch(writer.branches, name, from, exact);
    const base = writer.durableHead(branch.id);
    const started = committer.now().getTime();
    const isReplay = replays !== undefined;
    const facts = {
      turn,
      session,
      first,
      isReplay,
      branch,
      isFork: from !== undefined,
      instead,
      started,
      deadline: started + Math.min(limit, MOST_LIMIT),
    };
    const event = {
      kind: "invoke",
      info: {
        ...instead,
        ...(retries === undefined ? {} : { retries }),
        ...(replays === undefined ? {} : { replays }),
        ...(recorded ? { recorded } : {}),
        ...(again === undefined ? {} : { first }),
      },
      ...(input === undefined ? {} : { values: { input } }),
    } as const;
    this.#beginning.add(turn);
    try {
      const head = base?.commit === branch.head ? base : await source.at(branch.head);
      const open = await OpenTurn.begin(this.#ground, facts, head, event);
      const begun = { turn, session, branch: branch.name as BranchName, base: branch.head, state: open.head.commit };
      open.storing.beginning(begun, asked, durably);
      if (durably) await stored(open);
      this.#add(open);
      return begun;
    } catch (error) {
      // It may be stored all the same: who asked was told that it has not begun.
      if (durably) this.#abandonLater(turn, 0);
      throw error;
    } finally {
      this.#beginning.delete(turn);
    }
  }

  /** Where the line of turns begins that a turn to be done again belongs to. @throws not_found, conflict */
  async #firstOf(turn: string): Promise<string> {
    await this.restored();
    // Before the index is asked, which knows a short turn only when it has ended.
    if (this.#open.has(turn)) {
      throw new VlinderError("conflict", `the turn "${turn}" is open: what it does can't be done again yet`, {
        details: { turn },
        remedy: "wait until it has ended, or end it: turn.fail",
      });
    }
    const item = await this.index.turn(turn);
    if (item !== null) return item.first;
    throw new VlinderError("not_found", `there is no turn "${turn}"`, {
      details: { turn },
      remedy: "`vlinder log` shows turns; what one did on another machine is known here after `vlinder sync pull`",
    });
  }

  /**
   * Ends a turn and makes what it did part of its branch; durable when it resolves. An expectation that the branch no
   * longer meets ends it too, with what it did on a branch of its own. @throws not_found, conflict (it is being ended), unavailable (it goes on)
   */
  complete(turn: string, output: Uint8Array | null, id?: string): Promise<Ended> {
    const asked = { complete: turn, output: output === null ? null : sha256(output) };
    return this.#end(turn, "complete", (draft, open) => complete(draft, open, output), once(id, asked));
  }

  /** Ends a turn that moves no branch. @throws not_found, conflict, unavailable */
  fail(turn: string, reason: string, id?: string): Promise<Ended> {
    const asked = { fail: turn, reason };
    return this.#end(turn, "fail", (draft, open) => keep(draft, open, { kind: "failed", reason }), once(id, asked));
  }

  async #end(
    turn: string,
    how: string,
    work: (draft: Draft, open: OpenTurn) => Promise<Ended>,
    asked: ReturnType<typeof once>,
  ): Promise<Ended> {
    // One that has ended may be asked for again by its id: the writer knows the reply.
    const open = this.#open.get(turn);
    const closed = (await open?.close(how, asked?.id)) ?? false;
    try {
      const once = async (draft: Draft): Promise<Ended> => {
        const required = this.required(turn);
        const before = await endedBefore(draft, required);
        if (before !== null) {
          this.index.met(before.commit, await draft.source.commit(before.commit));
          return before;
        }
        const now = await work(draft, required);
        required.tried.push(now);
        return now;
      };
      const ending = this.#ground.writer.write(once, asked);
      // What its beginning was answered is stored with it.
      open?.storing.answered().catch(() => {});
      const ended = await ending;
      if (open !== undefined && this.#open.get(turn) === open) this.#remove(open, ended);
      return ended;
    } catch (error) {
      if (closed) open?.reopen();
      throw error;
    }
  }

  /** Records what happened in a turn that may be ending, or have ended. @throws unavailable, pruned */
  record(open: OpenTurn, event: TurnEvent): Promise<Hash> {
    return recordLate(this.#ground.writer, open, event);
  }

  /** Turns that were open when the daemon stopped have ended when it resolves. @throws unavailable */
  restored(): Promise<void> {
    return (this.#restored ??= this.restore().catch((error: unknown) => {
      this.#restored = null;
      throw error;
    }));
  }

  /**
   * Ends the turns that were open when the daemon stopped: what of them was durable is kept on their branches. What the
   * storage refuses is tried again. @throws the first of what could not be ended yet
   */
  async restore(): Promise<void> {
    const failures: unknown[] = [];
    for (const note of await this.#storage.notes(TURN_NOTES)) {
      try {
        await this.#abandon(note);
      } catch (error) {
        failures.push(error);
        if (isAway(error)) this.#abandonLater(note.name.slice(TURN_NOTES.length), AGAIN);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  async #abandon({ name, bytes }: StoredNote): Promise<void> {
    // One that began here meanwhile has its note there, too.
    if (this.#isOurs(name.slice(TURN_NOTES.length))) return;
    const note = parseTurnNote(bytes);
    const { turn, session, name: branch } = note;
    const kept = await this.#ground.writer.write((draft) => abandon(draft, this.#ground, note));
    this.#ended.set(turn, kept.kind);
    this.#tell({ turn, session, branch, what: kept.kind, ended: kept });
  }

  #isOurs(turn: string): boolean {
    return this.#beginning.has(turn) || this.#open.has(turn) || this.#ended.get(turn) !== undefined;
  }

  /** Ends a turn that nobody can go on with, if it is there. */
  #abandonLater(turn: string, wait: number): void {
    const timer = setTimeout(() => void this.#abandonNow(turn), wait).unref();
    this.#deadlines.set(turn, timer);
  }

  async #abandonNow(turn: string): Promise<void> {
    this.#deadlines.delete(turn);
    try {
      const notes = await this.#storage.notes(TURN_NOTES + turn);
      for (const note of notes) if (note.name === TURN_NOTES + turn) await this.#abandon(note);
    } catch (error) {
      if (isAway(error) && !this.#closed) this.#abandonLater(turn, AGAIN);
    }
  }

  /** Ends them all, since the daemon stops. Null: there are none. */
  close(): Promise<unknown> | null {
    this.#closed = true;
    for (const timer of this.#deadlines.values()) clearTimeout(timer);
    if (this.#open.size === 0) return null;
    return Promise.allSettled([...this.#open.keys()].map((turn) => this.fail(turn, "the daemon was stopped")));
  }

  /** Stores what the open ones have. Returns the ends of what is stored of them. @throws unavailable */
  async store(): Promise<Hash[]> {
    return await Promise.all([...this.#open.values()].map(async (open) => (await open.storing.flush()).commit));
  }

  /** The same for who reads the index, which knows what is stored: what the storage refuses now is not in it yet. */
  async storeForIndex(): Promise<void> {
    await this.store().catch(() => {});
  }

  /** Bytes that are in no file yet. */
  get unstored(): number {
    let sum = 0;
    for (const { unstored } of this.#open.values()) sum += unstored;
    return sum;
  }

  /** Objects of uploads that only open turns need: for gc. */
  *reached(): Generator<Hash> {
    for (const { relied } of this.#open.values()) yield* relied;
  }

  /** Commits whose states open turns are built on: for gc. */
  bases(): Hash[] {
    return [...this.#open.values()].map(({ base }) => base);
  }

  #add(open: OpenTurn): void {
    const { turn, session, branch } = open;
    this.#open.set(turn, open);
    const wait = Math.max(0, open.deadline - this.#ground.committer.now().getTime());
    const seconds = Math.round((open.deadline - open.started) / 1000);
    const timer = setTimeout(() => void this.#expire(turn, seconds), wait).unref();
    this.#deadlines.set(turn, timer);
    this.#tell({ turn, session, branch: branch.name, what: "begun", ended: null });
  }

  #remove(open: OpenTurn, ended: Ended): void {
    const { turn, session, branch } = open;
    clearTimeout(this.#deadlines.get(turn));
    this.#deadlines.delete(turn);
    this.#open.delete(turn);
    open.ended(ended);
    this.#ended.set(turn, ended.kind);
    this.#tell({ turn, session, branch: branch.name, what: ended.kind, ended });
  }

  /** What the storage refuses is tried again, until it is there or somebody else has ended the turn. */
  async #expire(turn: string, seconds: number): Promise<void> {
    try {
      await this.fail(turn, `it was not ended within ${seconds} s`);
    } catch {
      if (!this.#open.has(turn)) return;
      this.#deadlines.set(turn, setTimeout(() => void this.#expire(turn, seconds), AGAIN).unref());
    }
  }
}

function tooMany(open: number): VlinderError {
  return new VlinderError("unavailable", `the agent has ${open} turns open`, {
    details: { open, limit: MOST_OPEN },
    remedy: "end turns that are done (turn.complete, turn.fail); those that nobody ends expire",
  });
}

/** Makes a beginning durable; when that fails, it is none. @throws unavailable */
async function stored({ storing }: OpenTurn): Promise<void> {
  try {
    await storing.flush();
  } catch (error) {
    storing.finish();
    throw error;
  }
}

function isAway(error: unknown): boolean {
  return asVlinderError(error).code === "unavailable";
}

/** Unique, and in the order in which they were made: milliseconds, then chance. (Node has UUIDs in store; random bytes it asks for each time.) */
function stamp(): string {
  return Date.now().toString(36) + randomUUID().slice(0, 8);
}
