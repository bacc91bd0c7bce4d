import { z } from "zod";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { branchField, bytesField, idField, limitField } from "./fields.ts";
import type { SyncOwed } from "./kv.ts";

/** Seconds after which a turn is ended by itself: 10 minutes when nothing is said, a day at most. */
const limit = z
  .number()
  .positive()
  .max(24 * 60 * 60);
const reason = z.string().min(1).max(LIMITS.reasonChars);
const provider = z.string().min(1).max(100);
const model = z.string().min(1).max(LIMITS.modelBytes);
/** Another provider or model than agent.toml says, for the calls of this turn. */
const overrides = { provider: provider.optional(), model: model.optional() };

const run = z.strictObject({
  input: bytesField.optional(),
  branch: branchField.optional(),
  session: idField.optional(),
  limit: limit.optional(),
  retries: idField.optional(),
  ...overrides,
  /** Sends parts of the output, and a sign of life, before the reply. */
  progress: z.boolean().optional(),
  id: idField.optional(),
});

/** Requests of `vlinder.v1.<agent>.turn.*`, `session.*` and `run`. */
export const turnRequests = {
  "turn.begin": z.strictObject({
    branch: branchField.optional(),
    /** Absent: a new session. */
    session: idField.optional(),
    input: bytesField.optional(),
    limit: limit.optional(),
    /** The turn that this one does again: what it did once in the outside world is not done again. */
    retries: idField.optional(),
    ...overrides,
    id: idField.optional(),
  }),
  /** Takes up a turn that `invoke` announced; one process does. */
  "turn.accept": z.strictObject({ turn: idField, id: idField.optional() }),
  /** A part of the output, for who waits for it; it is not stored. */
  "turn.emit": z.strictObject({ turn: idField, text: z.string().max(LIMITS.valueBytes) }),
  "turn.complete": z.strictObject({ turn: idField, output: bytesField.optional(), id: idField.optional() }),
  "turn.fail": z.strictObject({ turn: idField, reason, id: idField.optional() }),
  "session.list": z.strictObject({
    /** The `next` of the reply before. */
    after: idField.optional(),
    limit: limitField.optional(),
  }),
  "session.get": z.strictObject({
    session: idField,
    /** Only what happened before this turn, in the history that it began from. */
    before: idField.optional(),
    /** The newest of them; default 100. */
    limit: limitField.optional(),
  }),
  run,
  /** The same for an administrator, with any provider that is configured, and any model. */
  "run.override": run,
  /** The same turn again, on a fork, from the state that it began from. */
  "turn.replay": z
    .strictObject({
      turn: idField,
      /** Answers calls from the record of the turn, in place of a provider. */
      recorded: z.boolean().optional(),
      ...overrides,
      /** The fork's name; default `replay/<turn>`, with a number where that is taken. */
      branch: branchField.optional(),
      limit: limit.optional(),
      progress: z.boolean().optional(),
      id: idField.optional(),
    })
    .refine(({ recorded, provider: p, model: m }) => recorded !== true || (p === undefined && m === undefined), {
      path: ["recorded"],
      error: "recorded answers come from the provider and model that answered then",
    }),
};

export interface BeginReply {
  readonly turn: string;
  readonly session: string;
  readonly branch: string;
  /** The branch's head that the turn began from. */
  readonly base: Hash;
  /** Its `invoke` commit, which its first read sees. */
  readonly state: Hash;
}

/** Body of a message on `vlinder.v1.<agent>.invoke`: a turn waits to be accepted. */
export interface InvokeMessage extends BeginReply {
  readonly agent: string;
}

export interface AcceptReply extends BeginReply {
  /** Null: it has none. */
  readonly input: Uint8Array | null;
  /** The turn that this one does again. */
  readonly retries: string | null;
  /** When it is ended by itself, ISO 8601. */
  readonly deadline: string;
}

/** A turn that ended well. */
export interface CompleteReply {
  readonly turn: string;
  /** Its final state: the parent of the `complete` commit. */
  readonly state: Hash;
  /** The `complete` commit. */
  readonly commit: Hash;
  /** The branch's head after it: `commit`, or the merge that joined both. */
  readonly head: Hash;
  readonly merged: boolean;
  /** Keys that both the turn and the branch changed, and that did not merge by themselves. */
  readonly conflicts: number;
  readonly sync?: SyncOwed;
}

/** A turn that moved no branch. */
export interface FailReply {
  readonly turn: string;
  readonly state: Hash;
  /** The `fail` commit. */
  readonly commit: Hash;
  /** The branch that keeps what it did. */
  readonly branch: string;
  readonly reason: string;
}

/** How a run's turn ended, well or not. */
export interface RunReply {
  readonly turn: string;
  readonly session: string;
  readonly branch: string;
  readonly kind: "completed" | "failed" | "conflict";
  /** The turn's final state. */
  readonly state: Hash;
  /** Its `complete` or `fail` commit. */
  readonly commit: Hash;
  /** The branch's head after it; null: the branch was not moved. */
  readonly head: Hash | null;
  readonly merged: boolean;
  readonly conflicts: number;
  /** Null: the agent gave none. */
  readonly output: Uint8Array | null;
  /** Why it moved no branch, and the branch that keeps what it did. */
  readonly reason: string | null;
  readonly kept: string | null;
  readonly sync?: SyncOwed;
}

/** What a turn cost. */
export interface ReplayCost {
  readonly calls: number;
  /** Those of them that were answered from the record: their tokens and times are those of then, and nobody was asked. */
  readonly recorded: number;
  /** Tokens that providers counted. */
  readonly input: number;
  readonly output: number;
  /** `<provider>/<model>` of those that were asked. */
  readonly models: readonly string[];
  /** Of the calls, and of the whole turn. */
  readonly callMilliseconds: number;
  readonly milliseconds: number;
}

export interface ReplaySide {
  readonly kind: "completed" | "failed" | "conflict";
  /** Why it failed. */
  readonly reason: string | null;
  /** Its `complete` or `fail` commit. */
  readonly commit: Hash;
  /** The turn's final state and its snapshot. */
  readonly state: Hash;
  readonly snapshot: Hash;
  /** Its value is null where it does not fit in the reply, or was erased. */
  readonly output: TurnValue | null;
  readonly cost: ReplayCost;
}

/** A call of a replay that the turn did not make then. */
export interface ReplayDivergence {
  /** The how-manieth of the replay, from 1. */
  readonly call: number;
  /** What the agent asks now; `commit` keeps it. */
  readonly asked: DivergedCall;
  /** What the turn asked at that place; null: nothing more. */
  readonly recorded: DivergedCall | null;
}

interface DivergedCall {
  /** The `call` commit. */
  readonly commit: Hash;
  readonly service: string;
  readonly method: string;
  readonly path: string;
  /** Null: no body. Its value is null where it does not fit in the reply, or was erased. */
  readonly request: TurnValue | null;
}

export interface ReplayReply {
  /** The new turn, and the one that it replays. */
  readonly turn: string;
  readonly of: string;
  readonly session: string;
  /** What it did: the fork, or the branch that keeps it when it was not completed; null: it is deleted. */
  readonly branch: string | null;
  /** The state that both began from. */
  readonly base: Hash;
  readonly recorded: boolean;
  readonly original: ReplaySide;
  readonly replay: ReplaySide;
  readonly same: { readonly kind: boolean; readonly snapshot: boolean; readonly output: boolean };
  /** Of a replay of recorded calls: those that the turn did not make then; the first of `divergences`. */
  readonly diverged: readonly ReplayDivergence[];
  readonly divergences: number;
  /** Recorded calls that the replay did not make. */
  readonly unused: number;
  readonly sync?: SyncOwed;
}

/** Body of a message on `vlinder.v1.<agent>.events.turn`. */
export interface TurnEventMessage {
  readonly agent: string;
  readonly turn: string;
  readonly session: string;
  readonly branch: string;
  readonly what: "begun" | "completed" | "failed" | "conflict";
  /** The last commit of it. */
  readonly commit: Hash | null;
  readonly reason: string | null;
  readonly time: string;
}

export interface SessionItem {
  readonly session: string;
  readonly turns: number;
  /** Of its first turn's beginning and of the last that happened, ISO 8601. */
  readonly began: string;
  readonly time: string;
  readonly last: { readonly turn: string; readonly kind: TurnKind; readonly commit: Hash };
}
export type TurnKind = "open" | "completed" | "failed" | "conflict";

/** A turn of a session. Bytes that don't fit in the reply are null: their hash reads them. */
export interface SessionTurn {
  readonly turn: string;
  readonly kind: TurnKind;
  readonly began: string;
  readonly time: string;
  readonly invoked: Hash | null;
  readonly commit: Hash | null;
  /** Its final state; null while it is open. */
  readonly state: Hash | null;
  readonly input: TurnValue | null;
  readonly output: TurnValue | null;
  readonly reason: string | null;
}
export interface TurnValue {
  readonly hash: Hash;
  readonly size: number;
  readonly value: Uint8Array | null;
}

export interface TurnReplies {
  "turn.begin": BeginReply;
  "turn.accept": AcceptReply;
  "turn.emit": Record<string, never>;
  "turn.complete": CompleteReply;
  "turn.fail": FailReply;
  "session.list": { readonly items: readonly SessionItem[]; readonly next: string | null };
  /** Oldest first; `turns` is how many the session has in all. */
  "session.get": { readonly session: string; readonly turns: number; readonly items: readonly SessionTurn[] };
  run: RunReply;
  "run.override": RunReply;
  "turn.replay": ReplayReply;
}
