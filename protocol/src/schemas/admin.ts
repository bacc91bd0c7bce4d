import { z } from "zod";
import type { ErrorBody } from "../errors.ts";
import type { Hash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { absolutePathField, agentField, branchField } from "./fields.ts";
import type { SpaceItem } from "./retention.ts";
import { type PullReply, type SyncReplies, syncRequests, type SyncStatusReply } from "./sync.ts";
import { type VaultReplies, vaultRequests } from "./vault.ts";

const folder = z.string().min(1).max(4096);

/** Requests of `vlinder.admin.v1.*`. `dir` and `path` are absolute paths on the daemon's machine. */
export const adminRequests = {
  "agents.plan": z.strictObject({ dir: folder }),
  "agents.register": z.strictObject({ dir: folder }),
  "agents.list": z.strictObject({}),
  "agents.show": z.strictObject({ agent: agentField }),
  "agents.remove": z.strictObject({ agent: agentField, purge: z.boolean().optional() }),
  "agents.restart": z.strictObject({ agent: agentField }),
  "agents.logs": z.strictObject({
    agent: agentField,
    lines: z.int().min(1).max(1_000_000).optional(),
    after: z
      .string()
      .regex(/^\d{1,15}-\d{1,15}$/, "must be a position from an earlier reply")
      .optional(),
    wait: z.int().min(0).max(LIMITS.logWait).optional(),
  }),
  "agents.export": z.strictObject({
    agent: agentField,
    path: absolutePathField,
    branch: branchField.optional(),
    overwrite: z.boolean().optional(),
    progress: z.boolean().optional(),
  }),
  "agents.import": z
    .strictObject({
      path: absolutePathField,
      into: agentField.optional(),
      name: agentField.optional(),
      progress: z.boolean().optional(),
    })
    .refine(({ into, name }) => into === undefined || name === undefined, {
      message: "either into or name: a new name is for a new agent",
    }),
  "agents.import_vlindercli": z.strictObject({
    agent: agentField,
    path: absolutePathField,
    progress: z.boolean().optional(),
  }),
  "agents.import_agentvault": z.strictObject({
    agent: agentField,
    path: absolutePathField,
    progress: z.boolean().optional(),
  }),
  "daemon.status": z.strictObject({}),
  "daemon.drain": z.strictObject({}),
  "daemon.reload": z.strictObject({}),
  ...syncRequests,
  ...vaultRequests,
  "providers.list": z.strictObject({}),
  "providers.test": z.strictObject({ provider: z.string().min(1).max(64) }),
};

export interface PlanReply {
  readonly agent: string;
  readonly dir: string;
  /** What registration would do, in order, in words. */
  readonly steps: readonly { readonly what: string; readonly detail: string }[];
  /** Whether the agent is registered already. */
  readonly registered: boolean;
  readonly contract: Hash;
}
export interface RegisterReply {
  readonly agent: string;
  /** `unchanged`: agent.toml says what it said before. */
  readonly result: "created" | "updated" | "adopted" | "unchanged";
  readonly state: Hash;
  readonly contract: Hash;
  /** Path of the agent's credentials, mode 0600. */
  readonly creds: string;
  readonly storage: { readonly objects: string; readonly vectors: string | null };
  /** What the user should know though it worked. */
  readonly notes: readonly string[];
}
export interface AgentItem {
  readonly agent: string;
  /** Folder of agent.toml; null for one that came by clone and has no folder here. */
  readonly dir: string | null;
  readonly description: string | null;
  readonly branch: string;
  readonly state: Hash;
  readonly keys: number;
  readonly vectors: number;
  /** Bytes on disk. */
  readonly size: number;
  /** Bytes that it may have; null: any number. */
  readonly limit: number | null;
  /** Time of the newest commit on main. */
  readonly time: string | null;
  /** Set when the agent can't be served: then the numbers are zero. */
  readonly error: ErrorBody | null;
  /** What the daemon runs for it; null when something else starts it. */
  readonly process: ProcessItem | null;
}
/** An agent's process. */
export interface ProcessItem {
  /** `waiting`: it has ended and is started again, at `next`; `failed`: it could not be started, and is tried again then. */
  readonly state: "running" | "waiting" | "failed" | "stopped";
  readonly pid: number | null;
  /** Of the state. */
  readonly since: string;
  readonly next: string | null;
  /** How often it was started again since the daemon started. */
  readonly restarts: number;
  /** Of the process before; either `code` or `signal` is set. */
  readonly lastExit: { readonly code: number | null; readonly signal: string | null; readonly time: string } | null;
  /** Why it could not be started. */
  readonly error: ErrorBody | null;
}
export interface RestartReply {
  readonly agent: string;
  readonly process: ProcessItem;
}
/** A line of an agent's log. */
export interface LogItem {
  /** Null for a line that is damaged. */
  readonly time: string | null;
  /** What the process wrote, or `daemon`: what was done with it. */
  readonly stream: "stdout" | "stderr" | "daemon";
  readonly text: string;
}
export interface LogsReply {
  readonly agent: string;
  /** Oldest first. */
  readonly items: readonly LogItem[];
  /** Where the next page begins. */
  readonly position: string;
  /** There is more already. */
  readonly more: boolean;
  /** What came after the position that was asked for is gone in part: the log is bounded. */
  readonly missed: boolean;
}
export interface AgentDetails extends AgentItem {
  readonly snapshot: Hash;
  readonly contract: Hash | null;
  readonly storage: { readonly objects: string; readonly vectors: string | null };
  readonly creds: string;
  readonly branches: number;
  readonly commits: number;
  readonly space: SpaceItem;
  /** agent.toml as it was registered; null for one that came by clone. */
  readonly manifest: string | null;
}
export interface ExportReply {
  readonly agent: string;
  readonly path: string;
  /** Of the file. */
  readonly bytes: number;
  readonly packs: number;
  readonly commits: number;
  readonly objects: number;
  readonly branches: readonly { readonly name: string; readonly state: Hash }[];
}
export interface ImportReply {
  readonly agent: string;
  /** It was not here before. */
  readonly created: boolean;
  /** That were not here before. */
  readonly commits: number;
  /** Of the archive. */
  readonly objects: number;
  readonly bytes: number;
  readonly branches: PullReply["agents"][number]["branches"];
  readonly notes: readonly string[];
}
/** What of a foreign file could not be mapped as it was. */
export interface ImportFinding {
  readonly what: string;
  readonly count: number;
  /** Some of them: hashes, paths or names. */
  readonly examples: readonly string[];
  /** What was done about it. */
  readonly done: string;
}
export interface VlinderCliImportReply {
  readonly agent: string;
  /** Ours: one for each of theirs that could be mapped. */
  readonly commits: number;
  /** Values of the file that are in the history now, and their bytes. */
  readonly values: number;
  readonly bytes: number;
  /** `original`: the hash of VlinderCLI's commit at the branch's end. */
  readonly branches: readonly { readonly name: string; readonly state: Hash; readonly original: string }[];
  readonly findings: readonly ImportFinding[];
}
export interface AgentVaultImportReply {
  readonly agent: string;
  /** The file's name, and its SHA-256: commits name both. */
  readonly file: string;
  readonly sha256: string;
  readonly commits: number;
  /** That are keys now, and the bytes of their values. */
  readonly rows: number;
  readonly bytes: number;
  /** What came, 200 at most. `prefix`: what the keys of its rows begin with. */
  readonly tables: readonly {
    readonly table: string;
    readonly prefix: string;
    readonly rows: number;
    readonly commits: number;
  }[];
  /** How many tables came besides. */
  readonly more: number;
  /** What did not come, or came otherwise. */
  readonly findings: readonly ImportFinding[];
}
export interface StatusReply {
  readonly version: string;
  readonly pid: number;
  readonly home: string;
  readonly nats: { readonly url: string; readonly own: boolean; readonly version: string };
  /** Seconds since the start. */
  readonly uptime: number;
  readonly memory: number;
  readonly agents: readonly AgentItem[];
  readonly sync: SyncStatusReply;
}

/** A provider of models, as it is configured. Never its key. */
export interface ProviderItem {
  readonly provider: string;
  readonly url: string;
  readonly protocol: "openai" | "anthropic" | "ollama";
  readonly key: {
    /** Where it comes from; null: there is none. */
    readonly from: "file" | "stored" | "systemd" | "environment" | null;
    /** The file or the variable. */
    readonly place: string | null;
    /** Whether calls are refused without one. */
    readonly required: boolean;
    /** Why it can't be used. */
    readonly error: ErrorBody | null;
  };
  /** Agents that declare it. */
  readonly agents: readonly string[];
  /** What a person should know. */
  readonly notes: readonly string[];
}
export interface ProviderTestReply {
  readonly provider: string;
  readonly url: string;
  /** Whether it answered, and took the key. */
  readonly ok: boolean;
  /** Of its answer; null: none came. */
  readonly status: number | null;
  readonly milliseconds: number;
  /** What went wrong; null: nothing. */
  readonly problem: ErrorBody | null;
}

export interface AdminReplies extends SyncReplies, VaultReplies {
  "agents.plan": PlanReply;
  "agents.register": RegisterReply;
  "agents.list": { readonly items: readonly AgentItem[] };
  "agents.show": AgentDetails;
  "agents.remove": { readonly agent: string; readonly purged: boolean; readonly kept: string | null };
  "agents.restart": RestartReply;
  "agents.logs": LogsReply;
  "agents.export": ExportReply;
  "agents.import": ImportReply;
  "agents.import_vlindercli": VlinderCliImportReply;
  "agents.import_agentvault": AgentVaultImportReply;
  "daemon.status": StatusReply;
  "daemon.drain": { readonly draining: true };
  "daemon.reload": { readonly reloaded: readonly string[] };
  "providers.list": { readonly items: readonly ProviderItem[] };
  "providers.test": ProviderTestReply;
}

/** `vlinder.v1.<agent>.events.commit`: one for each durable move of a branch. */
export interface CommitEventMessage {
  readonly agent: string;
  readonly branch: string;
  readonly from: Hash | null;
  readonly state: Hash | null;
  readonly time: string;
}

/** Body of a message with the progress header. */
export interface Progress {
  readonly what: string;
  readonly done: number;
  /** Null while it is not known. */
  readonly total: number | null;
  readonly unit: "objects" | "bytes" | "commits" | "vectors" | "rows" | "seconds";
  /** Of a run: the turn that it is (`what` "turn"), or a part of its output ("output"). */
  readonly text?: string;
}

/** `$VLINDER_HOME/run/daemon.json`. */
export interface DaemonFile {
  readonly url: string;
  readonly pid: number;
  readonly creds: string;
  readonly version: string;
}
