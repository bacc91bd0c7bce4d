import { setImmediate as nextTurn } from "node:timers/promises";
import { type Commit, decodeCommit, type Hash } from "@vlinder/protocol";
import type { ObjectStorage, StoredObject } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import { EffectIndex } from "./effect-index.ts";

/** A turn as its first and its last commit tell. */
export interface TurnItem {
  readonly turn: string;
  readonly session: string;
  readonly kind: "open" | "completed" | "failed" | "conflict";
  /** Its `invoke` commit; null: it is not here. */
  readonly invoked: Hash | null;
  /** Its `complete` or `fail` commit. */
  readonly ended: Hash | null;
  /** The turn that it replays, on a fork: it is no part of the session's story. */
  readonly replays: string | null;
  /** When it began, or, where that is not known, ended; ISO 8601. */
  readonly began: string;
  readonly time: string;
  /** The first turn of those that did one another again; itself, when it does none again. */
  readonly first: string;
}

/** What an index keeps of one of the two commits. */
type Marked = Pick<Commit, "event" | "session" | "turn" | "time">;

/** Ways in which the events of interest are written in a commit. */
const EVENTS = ["invoke", "complete", "fail", "effect"].map((kind) => Buffer.from(`"kind":"${kind}"`, "utf8"));

/**
 * Turns, sessions and effects of an agent, in memory: of all commits that are here, whatever branch they are on. It is read
 * from the storage when it is first asked for, in one sweep, and told of new commits from then on.
 */
export class TurnIndex {
  readonly #storage: Pick<ObjectStorage, "scan" | "read" | "sweep">;
  readonly #turns = new Map<string, TurnItem>();
  readonly #sessions = new Map<string, Set<string>>();
  /** To be asked when `ready` has resolved. */
  readonly effects = new EffectIndex();
  #read: Promise<void> | null = null;

  constructor(storage: ObjectStorage) {
    this.#storage = storage;
  }

  /** A commit is here. */
  met(hash: Hash, commit: Marked): void {
    const { kind } = commit.event;
    if (this.#read === null) return;
    if (kind === "effect") this.effects.met(hash, commit);
    else if (kind === "invoke" || kind === "complete" || kind === "fail") this.#note(hash, commit);
  }

  /** Objects came from elsewhere, and are stored. */
  received(objects: readonly StoredObject[]): void {
    if (this.#read === null) return;
    for (const { kind, hash, bytes } of objects) if (kind === "commit") this.#metBytes(hash, bytes);
  }

  /** Most commits are of no interest, which is seen without decoding them. */
  #metBytes(hash: Hash, bytes: Uint8Array): void {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (EVENTS.some((event) => buffer.includes(event))) this.met(hash, decodeCommit(bytes));
  }

  async turn(turn: string): Promise<TurnItem | null> {
    await this.ready();
    return this.#turns.get(turn) ?? null;
  }

  /** The turns of a session, in the order in which they began, without replays of them; empty: there is no such session. */
  async session(session: string): Promise<TurnItem[]> {
    return (await this.withReplays(session)).filter(({ replays }) => replays === null);
  }

  /** The same with replays. */
  async withReplays(session: string): Promise<TurnItem[]> {
    await this.ready();
    const turns = [...(this.#sessions.get(session) ?? [])].map((turn) => this.#turns.get(turn) as TurnItem);
    return turns.sort(byBeginning);
  }

  /** Each session with its turns; the one that something happened in last is first. */
  async sessions(): Promise<{ session: string; turns: TurnItem[] }[]> {
    await this.ready();
    const all = [...this.#sessions.keys()].map(async (session) => ({ session, turns: await this.session(session) }));
    const last = (turns: readonly TurnItem[]): string => turns.reduce((max, { time }) => (time > max ? time : max), "");
    const found = (await Promise.all(all)).filter(({ turns }) => turns.length > 0);
    return found.sort((a, b) => (last(a.turns) > last(b.turns) ? -1 : 1));
  }

  /** All that is here has been read. @throws unavailable */
  ready(): Promise<void> {
    if (this.#read === null) {
      // From now on it is told of what comes, so that nothing is missed between.
      this.#read = Promise.resolve();
      this.#read = this.#readAll().catch((error: unknown) => {
        this.#read = null;
        throw error;
      });
    }
    return this.#read;
  }

  async #readAll(): Promise<void> {
    for await (const page of sweepObjects(this.#storage, "commit")) {
      for (const { hash, bytes } of page) this.#metBytes(hash, bytes);
      await nextTurn();
    }
  }

  #note(hash: Hash, { event, session, turn, time = "" }: Marked): void {
    if (turn === undefined || session === undefined) return;
    const known = this.#turns.get(turn);
    if (event.kind === "invoke") {
      const { first, replays } = event.info ?? {};
      const began = {
        invoked: hash,
        began: time,
        first: typeof first === "string" ? first : turn,
        replays: typeof replays === "string" ? replays : null,
      };
      this.#set(
        known === undefined ? { turn, session, kind: "open", ended: null, time, ...began } : { ...known, ...began },
      );
      return;
    }
    const kind = event.kind === "complete" ? "completed" : event.info?.["conflict"] === true ? "conflict" : "failed";
    // A machine that was copied may have ended the same turn twice: what was completed counts.
    if (known?.kind === "completed" && kind !== "completed") return;
    const { invoked = null, began = time, first = turn, replays = null } = known ?? {};
    this.#set({ turn, session, invoked, began, first, replays, kind, ended: hash, time });
  }

  #set(item: TurnItem): void {
    this.#turns.set(item.turn, item);
    const turns = this.#sessions.get(item.session);
    if (turns === undefined) this.#sessions.set(item.session, new Set([item.turn]));
    else turns.add(item.turn);
  }
}

function byBeginning(a: TurnItem, b: TurnItem): number {
  if (a.began !== b.began) return a.began < b.began ? -1 : 1;
  return a.turn < b.turn ? -1 : 1;
}
