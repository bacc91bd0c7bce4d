import { z } from "zod";
import type { ErrorBody } from "../errors.ts";
import type { Hash } from "../hash.ts";
import type { DrillRecord, DrillReply } from "./drill.ts";
import { absolutePathField, agentField, devicePrefixField } from "./fields.ts";
import type { SyncLock } from "./kv.ts";
import { deviceNameField, recoveryKeyField } from "./vault.ts";

/** Requests about a bucket and what is in it. */
export const syncRequests = {
  "sync.init": z
    .strictObject({
      uri: z.string().min(1).max(4096),
      join: z.boolean().optional(),
      encrypt: z.boolean().optional(),
      key: recoveryKeyField.optional(),
      vault: z
        .string()
        .regex(/^[0-9a-f]{32,64}$/, "must be at least 32 digits of the vault's hash")
        .optional(),
      name: deviceNameField.optional(),
    })
    .refine(
      ({ encrypt, join, key, vault }) =>
        encrypt !== true || (join !== true && key === undefined && vault === undefined),
      { message: "either encrypt, which makes a vault, or join, key or vault, which join one" },
    ),
  "sync.status": z.strictObject({ agent: agentField.optional() }),
  "sync.push": z.strictObject({ agent: agentField.optional(), progress: z.boolean().optional() }),
  "sync.pull": z.strictObject({ agent: agentField.optional(), progress: z.boolean().optional() }),
  "sync.retire": z.strictObject({
    device: devicePrefixField,
    progress: z.boolean().optional(),
  }),
  "sync.drill": z.strictObject({
    agent: agentField.optional(),
    keep: absolutePathField.optional(),
    progress: z.boolean().optional(),
  }),
  "sync.databases": z.strictObject({ agent: agentField.optional(), progress: z.boolean().optional() }),
  "sync.databases_get": z.strictObject({
    agent: agentField.optional(),
    path: absolutePathField,
    progress: z.boolean().optional(),
  }),
};

/** When an agent is pushed and pulled: around its turns, every so often, or only when somebody asks. */
export type SyncWhen = "turn" | "interval" | "manual";

export interface SyncAgentItem {
  readonly agent: string;
  readonly when: SyncWhen;
  /** Commits and bytes of objects that the bucket does not have yet. */
  readonly owed: { readonly commits: number; readonly bytes: number };
  /** When the oldest owed commit was made. */
  readonly since: string | null;
  readonly pushed: string | null;
  readonly pulled: string | null;
  /** Null: it goes well. */
  readonly lock: SyncLock | null;
  readonly error: ErrorBody | null;
  readonly notes: readonly string[];
  /** The newest head of each other machine that a pull has seen. */
  readonly heads: readonly { readonly device: string; readonly n: number; readonly time: string }[];
  /** Of an agent that was asked for by name: how its branches here and in those heads differ. */
  readonly branches?: readonly SyncBranchItem[];
}
/** A branch here beside the same one as another machine has published it. */
export interface SyncBranchItem {
  readonly branch: string;
  readonly device: string;
  /** Here; null: not on this machine, or deleted. */
  readonly state: Hash | null;
  /** There; null: not on that machine, or deleted. */
  readonly theirs: Hash | null;
  /**
   * This machine's beside the other's: it has commits that the other has not published (`ahead`), lacks some that it has
   * (`behind`), or both (`diverged`). `absent`: one of them does not have the branch.
   */
  readonly relation: "equal" | "ahead" | "behind" | "diverged" | "absent";
  /** Commits that the other has not published, and those that are not in this branch; null: not here yet, so not counted. */
  readonly ahead: number | null;
  readonly behind: number | null;
}
/** Since the daemon started. A push or pull is counted for each agent. */
export interface SyncMetrics {
  readonly pushes: OperationMetrics;
  readonly pulls: OperationMetrics;
  /** How often the bucket was asked whether it had changed before it was listed, and had not. */
  readonly probes: { readonly asked: number; readonly unchanged: number };
}
export interface OperationMetrics {
  readonly done: number;
  /** By class. */
  readonly failed: { readonly retry: number; readonly person: number };
  /** Of packs and heads that were sent, or packs that were fetched. */
  readonly bytes: number;
  /** When the last one went well, ISO 8601. */
  readonly last: string | null;
}
/** The bucket of a new home's config.toml, before it can be used. */
export interface SyncJoining {
  /** As of each agent; null: it is being tried for the first time. */
  readonly lock: SyncLock | null;
  readonly error: ErrorBody | null;
}
export interface SyncStatusReply {
  /** Null: no bucket, memory is kept only here. */
  readonly bucket: string | null;
  /** Only while the bucket, which is that of config.toml, has not been joined yet. */
  readonly joining?: SyncJoining;
  readonly vault: string | null;
  readonly device: string;
  readonly devices: readonly { readonly device: string; readonly self: boolean; readonly seen: string | null }[];
  readonly agents: readonly SyncAgentItem[];
  readonly metrics: SyncMetrics;
  /** The last time that the bucket was restored to see whether it can be; null: never. */
  readonly drill: DrillRecord | null;
}
/** One of the things that were tried in a bucket, in this order. */
export interface ProbeStep {
  readonly step: "write" | "look" | "list" | "read" | "read part" | "delete" | "gone";
  readonly milliseconds: number;
}
export interface InitReply {
  readonly bucket: string;
  readonly vault: string;
  /** The bucket had no vault before. */
  readonly created: boolean;
  readonly encrypted: boolean;
  /** Of a new encrypted vault: the key that opens it when all machines are lost. It is kept nowhere. A secret. */
  readonly recovery: string | null;
  /** Empty with `join`: nothing was written. */
  readonly probe: readonly ProbeStep[];
  /** What a person should know: files in the bucket that are not vlinder's. */
  readonly notes: readonly string[];
}
export interface PushReply {
  readonly agents: readonly {
    readonly agent: string;
    readonly commits: number;
    readonly objects: number;
    /** Bytes of packs and heads written to the bucket. */
    readonly bytes: number;
    readonly error: ErrorBody | null;
  }[];
}
export interface PullReply {
  readonly agents: readonly {
    readonly agent: string;
    /** Came from the bucket and was not known here. */
    readonly created: boolean;
    readonly commits: number;
    readonly objects: number;
    readonly bytes: number;
    readonly branches: readonly {
      readonly name: string;
      readonly result: "unchanged" | "fast-forward" | "merged" | "new" | "deleted" | "kept";
      readonly state: Hash;
      readonly conflicts: number;
    }[];
    /** What a person should know: a branch shown under another name, a clock ahead, a head not merged. */
    readonly notes: readonly string[];
    readonly error: ErrorBody | null;
  }[];
}
export interface RetireReply {
  /** The whole id. */
  readonly device: string;
  /** Agents of which the device had heads in the bucket that were deleted. */
  readonly agents: readonly string[];
  /** What a person should know: heads that stay, and why. */
  readonly notes: readonly string[];
}
/** `vlinder.v1.<agent>.events.sync`: the safety lock went on, became another one, or went off. */
export interface SyncEventMessage {
  readonly agent: string;
  /** Null: it is off. */
  readonly lock: SyncLock | null;
  /** Why it is on; null when it is off. */
  readonly error: ErrorBody | null;
  /** What the bucket lacks. */
  readonly owed: { readonly commits: number; readonly bytes: number };
  readonly time: string;
}

/** When a copy of an agent's databases goes to the bucket: once a day, after every push, or never by itself. */
export type DatabasesMode = "daily" | "turn" | "off";

/** Of each agent, its copy in the bucket. */
export interface CopiesReply {
  readonly agents: readonly {
    readonly agent: string;
    /** When it was made, ISO 8601; null: none was. */
    readonly time: string | null;
    /** Paths in the bucket, and bytes. */
    readonly files: readonly { readonly path: string; readonly bytes: number }[];
    /** Why there is nothing to copy. */
    readonly why: string | null;
    readonly error: ErrorBody | null;
  }[];
}

/** An agent's newest copy, brought from the bucket. */
export interface FetchedCopy {
  readonly agent: string;
  /** The machine that made it; null: none was brought. */
  readonly device: string | null;
  /** When it was made, ISO 8601, as its machine says. */
  readonly time: string | null;
  /** The SQLite files: absolute paths on the daemon's machine, and bytes. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** A sentence for each newer copy that was not taken. */
  readonly notes: readonly string[];
  readonly error: ErrorBody | null;
}

export interface FetchedCopiesReply {
  readonly agents: readonly FetchedCopy[];
}

export interface SyncReplies {
  "sync.init": InitReply;
  "sync.status": SyncStatusReply;
  "sync.push": PushReply;
  "sync.databases": CopiesReply;
  "sync.databases_get": FetchedCopiesReply;
  "sync.pull": PullReply;
  "sync.retire": RetireReply;
  "sync.drill": DrillReply;
}
