import { figure } from "./figures.ts";
import type { Sizes } from "./sizes.ts";

/** `must`: the bench fails when it does not hold. `aim`: wanted, and not there on every run yet. */
export type Kind = "must" | "aim";

export interface Limit {
  readonly kind: Kind;
  readonly bound: "at most" | "at least";
  readonly value: number;
}

export interface Line {
  readonly what: string | ((sizes: Sizes) => string);
  /** Null: shown, and never judged. */
  readonly limit: Limit | null;
  /** Behind the number; absent: `×`. */
  readonly unit?: string;
}

const atLeast = (kind: Kind, value: number): Limit => ({ kind, bound: "at least", value });
const atMost = (kind: Kind, value: number): Limit => ({ kind, bound: "at most", value });

type Deltas<Kind extends string> = Record<`delta-${"up" | "down"}-${"1MB" | "1KB"}-${Kind}`, Line>;

/** On the wire to and from a bucket of a kind, when so much of 1 GB changes. */
function deltasOf<Kind extends string>(kind: Kind): Deltas<Kind> {
  const line = (what: string, unit: string, most: number): Line => ({
    what: `${what}, \`${kind}://\``,
    unit,
    limit: atMost("aim", most),
  });
  const lines = {
    [`delta-up-1MB-${kind}`]: line("1 MB changed in 1 GB: sent", "MB", 1.2),
    [`delta-down-1MB-${kind}`]: line("1 MB changed in 1 GB: fetched", "MB", 1.2),
    [`delta-up-1KB-${kind}`]: line("1 KB changed in 1 GB: sent", "KB", 64),
    [`delta-down-1KB-${kind}`]: line("1 KB changed in 1 GB: fetched", "KB", 64),
  };
  return lines as Deltas<Kind>;
}

/** What is wanted of the store, in the order in which it is shown. To flip a line, change its first word. */
const WANTED = {
  "puts/jetstream": {
    what: "durable puts, 64 in flight, to JetStream KV with its default sync (no fsync a put)",
    limit: atLeast("aim", 1),
  },
  "puts/jetstream-always": {
    what: "durable puts, 64 in flight, to JetStream KV with sync always",
    limit: atLeast("aim", 3),
  },
  "put-p50/jetstream-always": {
    what: "durable put, one at a time, p50 to JetStream KV with sync always",
    limit: atMost("aim", 1.5),
  },
  "gets/jetstream": { what: "gets, 64 in flight, to JetStream KV", limit: atLeast("aim", 3) },
  "get-p50/echo": {
    what: "get, one at a time, p50 to a NATS echo of the same sizes",
    limit: atMost("aim", 1.2),
  },
  "plain-puts/jetstream": {
    what: "durable puts of a plain NATS client, one message each, 64 in flight, to JetStream KV with its default sync",
    limit: atLeast("aim", 0.6),
  },
  "agents/agent": {
    what: "puts of 64 agents, a client each with 64 in flight, in sum, to those of one",
    limit: atLeast("aim", 0.7),
  },
  "agents-singly/agent": {
    what: "puts of 64 agents, a client each with one in flight, in sum, to those of one with 64 in flight",
    limit: atLeast("aim", 0.7),
  },
  "get-p50-beside-writers": {
    what: "get p50 beside 32 writers of the same agent to idle",
    limit: atMost("aim", 1.5),
  },
  "get-p99-beside-writers": {
    what: "get p99 beside 32 writers of the same agent to idle",
    limit: atMost("aim", 3),
  },
  "engine/raw": {
    what: ({ middle }) =>
      `the engine alone, ${figure(middle)} keys: puts to raw inserts into a table of as many rows, both at 64 a transaction`,
    limit: atLeast("aim", 0.6),
  },
  "engine-large/engine-middle": {
    what: ({ large, middle }) =>
      `the engine alone, 64 a transaction: puts at ${figure(large)} keys to puts at ${figure(middle)}`,
    limit: atLeast("aim", 0.6),
  },
  "growth-large": {
    what: ({ large }) => `the engine alone: growth of the file a put at ${figure(large)} keys`,
    unit: "KB",
    limit: atMost("aim", 2.5),
  },
  "engine/flat": {
    what: "the engine alone: puts at 10,000 keys to a flat snapshot a put at 10,000 keys, both at 64 a transaction",
    limit: atLeast("aim", 100),
  },
  "read-back/read-head": {
    what: ({ back }) =>
      `in process: reads, each at another commit about ${figure(back)} back, p50 to reads at the head`,
    limit: atMost("aim", 2),
  },
  "read-back-again/read-head": {
    what: ({ back }) => `in process: reads at one commit ${figure(back)} back, p50 to reads at the head`,
    limit: atMost("aim", 2),
  },
  "wire-read-back/read-head": {
    what: ({ back }) =>
      `agent-runtime: reads, each at another commit about ${figure(back)} back, p50 to reads at the head`,
    limit: atMost("aim", 2),
  },
  "diff/gets": {
    what: ({ commits }) => `in process: a diff of 10 changes in ${figure(commits)} keys to 100 gets`,
    limit: atMost("aim", 1),
  },
  "fork-time": {
    what: ({ forks, middle }) =>
      `a fork's time, of ${figure(forks)} forks of a state of ${figure(middle)} keys that are asked for together`,
    unit: "ms",
    limit: atMost("aim", 0.5),
  },
  "fork-bytes": {
    what: ({ forks, middle }) =>
      `a fork's bytes on disk, of ${figure(forks)} forks of a state of ${figure(middle)} keys`,
    unit: "KB",
    limit: atMost("aim", 1),
  },
  "turn/echo-and-fsync": {
    what: "a turn of 20 puts and 20 gets, one after another, to 60 times an echo's p50 and 5 times that of an fsync",
    limit: atMost("aim", 1),
  },
  "reads-noted": {
    what: "in process: puts and gets of a turn whose reads are recorded to one whose reads are not",
    limit: atLeast("aim", 0.85),
  },
  "verify/sha256sum": {
    what: "verify of large values to `sha256sum` over the same bytes",
    limit: atLeast("aim", 0.5),
  },
  "verified/put": {
    what: ({ commits }) => `${figure(commits)} small commits: verified a second to put a second`,
    limit: atLeast("aim", 1),
  },
  startup: {
    what: ({ commits }) => `start of the daemon until the first get: ${figure(commits)} commits to 1,000`,
    limit: atMost("aim", 1.5),
  },
  memory: {
    what: ({ commits }) => `memory of the daemon under load, ${figure(commits)} keys and as many commits: its peak`,
    unit: "MB",
    limit: atMost("aim", 300),
  },
  "clone/copy": {
    what: "a clone of 1 GB of state over a folder to `cp`, fsync and `sha256sum` of its database",
    limit: atMost("aim", 1.5),
  },
  "push-memory": {
    what: "memory of the daemon above idle: a first push of 1 GB",
    unit: "MB",
    limit: atMost("aim", 300),
  },
  "pull-memory": { what: "memory of the daemon above idle: a clone of 1 GB", unit: "MB", limit: atMost("aim", 300) },
  "push-memory-hf": {
    what: "the same into `hf://`, without what the official client takes alone",
    unit: "MB",
    limit: atMost("aim", 300),
  },
  "pull-memory-hf": { what: "the same from `hf://`, without that", unit: "MB", limit: atMost("aim", 300) },
  "push-memory-s3": { what: "the same into `s3://`", unit: "MB", limit: atMost("aim", 300) },
  "pull-memory-s3": { what: "the same from `s3://`", unit: "MB", limit: atMost("aim", 300) },
  ...deltasOf("file"),
  ...deltasOf("hf"),
  ...deltasOf("s3"),
} satisfies Record<string, Line>;

/** A put at the largest size to one at the smallest. */
const grows = (what: string): Line => ({
  what: ({ large, small }) => `the engine alone: a put at ${figure(large)} keys to one at ${figure(small)}: ${what}`,
  limit: atMost("must", 4),
});

/** What held before, and must not be lost. */
const KEPT = {
  "grows-time": grows("time, 64 a transaction"),
  "grows-processor": grows("processor time, 64 a transaction"),
  "grows-one": grows("time, one at a time (p50)"),
  "grows-written": grows("bytes written"),
  "grows-file": grows("growth of the file"),
  "other-get/echo": {
    what: "get p50 of another agent to an echo's, both beside 32 writers (one message each)",
    limit: atMost("must", 5),
  },
  "puts/transaction": {
    what: "puts of 64 clients of one agent, one at a time each, per transaction",
    unit: "puts",
    limit: atLeast("must", 4),
  },
} satisfies Record<string, Line>;

/** For the reader. */
const TOLD = {
  "put-p50/jetstream": {
    what: "durable put, one at a time, p50 to JetStream KV with its default sync",
    limit: null,
  },
  "puts/redis-always": { what: "durable puts, 64 in flight, to Redis with appendfsync always", limit: null },
  "gets/redis": { what: "gets, 64 in flight, to Redis", limit: null },
  "puts/agentfs": { what: "durable puts, 64 in flight, to AgentFS in process", limit: null },
  "get-p50/agentfs": { what: "get, one at a time, p50 to AgentFS in process", limit: null },
  "engine-one/raw": {
    what: ({ middle }) =>
      `the engine alone, ${figure(middle)} keys, one transaction at a time: puts to raw inserts, 64 a transaction`,
    limit: null,
  },
  "agents-singly/clients": {
    what: "puts of 64 agents, a client each with one in flight, in sum, to those of 64 such clients of one agent",
    limit: null,
  },
  "other-get-beside-writers": { what: "get p50 of another agent beside 32 writers to idle", limit: null },
  "get-beside-plain-writers": { what: "get p50 beside 32 writers, one message each, to idle", limit: null },
  "echo-beside-writers": {
    what: "NATS echo p50 beside the same writers to idle: the machine's part",
    limit: null,
  },
  "wire-diff/gets": {
    what: ({ commits }) => `agent-runtime: a diff of 10 changes in ${figure(commits)} keys to 100 gets`,
    limit: null,
  },
} satisfies Record<string, Line>;

export type RatioName = keyof typeof WANTED | keyof typeof KEPT | keyof typeof TOLD;

export const LINES: Readonly<Record<RatioName, Line>> = { ...WANTED, ...KEPT, ...TOLD };
