import type { Command } from "commander";
import type { Context } from "./context.ts";
import type { Outcome } from "./outcome.ts";

/** Makes a commander action of a command's work; what it returns is printed in one place. */
export type Act = <Args extends unknown[]>(
  work: (context: Context, ...args: Args) => Promise<Outcome>,
) => (...args: Args) => Promise<void>;

/** Gives a command its arguments, options and action, or its subcommands. */
export type Define = (command: Command, act: Act) => void;

export interface CatalogueEntry {
  readonly name: string;
  readonly summary: string;
  readonly group: string;
  /** Its code is read only when it is asked for: `vlinder --help` is to be there at once. */
  readonly load: () => Promise<Define>;
}

const DAEMON = "The daemon and this machine:";
const AGENTS = "Agents:";
const MEMORY = "What an agent remembers:";
const TIME = "Its history:";
const SYNC = "The same on every machine:";
const FILES = "As a file:";

export const CATALOGUE: readonly CatalogueEntry[] = [
  {
    name: "status",
    summary: "the daemon, the bucket and every agent at a glance",
    group: DAEMON,
    load: async () => (await import("./commands/status.ts")).defineStatus,
  },
  {
    name: "doctor",
    summary: "what is wrong here, and what to do",
    group: DAEMON,
    load: async () => (await import("./commands/doctor.ts")).defineDoctor,
  },
  {
    name: "env",
    summary: 'variables for other NATS clients: eval "$(vlinder env)"',
    group: DAEMON,
    load: async () => (await import("./commands/env.ts")).defineEnv,
  },
  {
    name: "stop",
    summary: "stop the daemon; what it accepted is answered first",
    group: DAEMON,
    load: async () => (await import("./commands/stop.ts")).defineStop,
  },
  {
    name: "reload",
    summary: "let the daemon read config.toml again",
    group: DAEMON,
    load: async () => (await import("./commands/reload.ts")).defineReload,
  },
  {
    name: "provider",
    summary: "who answers for models, and their keys",
    group: DAEMON,
    load: async () => (await import("./commands/provider.ts")).defineProvider,
  },
  {
    name: "service",
    summary: "run vlinderd as a service (systemd, launchd)",
    group: DAEMON,
    load: async () => (await import("./commands/service.ts")).defineService,
  },
  {
    name: "completion",
    summary: "print what a shell needs to complete vlinder commands",
    group: DAEMON,
    load: async () => (await import("./commands/completion.ts")).defineCompletion,
  },
  {
    name: "agent",
    summary: "make, register, list, restart and remove agents",
    group: AGENTS,
    load: async () => (await import("./commands/agent.ts")).defineAgent,
  },
  {
    name: "logs",
    summary: "what an agent that the daemon runs has written",
    group: AGENTS,
    load: async () => (await import("./commands/logs.ts")).defineLogs,
  },
  {
    name: "run",
    summary: "talk to an agent: turn by turn, or one with -m",
    group: AGENTS,
    load: async () => (await import("./commands/run.ts")).defineRun,
  },
  {
    name: "session",
    summary: "list and read an agent's sessions",
    group: AGENTS,
    load: async () => (await import("./commands/session.ts")).defineSession,
  },
  {
    name: "kv",
    summary: "read and write an agent's values",
    group: MEMORY,
    load: async () => (await import("./commands/kv.ts")).defineKv,
  },
  {
    name: "vector",
    summary: "search and list an agent's vectors",
    group: MEMORY,
    load: async () => (await import("./commands/vector.ts")).defineVector,
  },
  {
    name: "log",
    summary: "what happened, newest first",
    group: TIME,
    load: async () => (await import("./commands/log.ts")).defineLog,
  },
  {
    name: "show",
    summary: "one commit and what it changed",
    group: TIME,
    load: async () => (await import("./commands/show.ts")).defineShow,
  },
  {
    name: "diff",
    summary: "what differs between two states",
    group: TIME,
    load: async () => (await import("./commands/diff.ts")).defineDiff,
  },
  {
    name: "fork",
    summary: "begin a branch at any state",
    group: TIME,
    load: async () => (await import("./commands/fork.ts")).defineFork,
  },
  {
    name: "promote",
    summary: "put a branch in main's place; what main held stays, sealed",
    group: TIME,
    load: async () => (await import("./commands/promote.ts")).definePromote,
  },
  {
    name: "rewind",
    summary: "go forward to what a state held; nothing is lost",
    group: TIME,
    load: async () => (await import("./commands/rewind.ts")).defineRewind,
  },
  {
    name: "merge",
    summary: "bring one branch's changes into another",
    group: TIME,
    load: async () => (await import("./commands/merge.ts")).defineMerge,
  },
  {
    name: "branch",
    summary: "list and delete branches",
    group: TIME,
    load: async () => (await import("./commands/branch.ts")).defineBranch,
  },
  {
    name: "reflog",
    summary: "where branches pointed, move by move",
    group: TIME,
    load: async () => (await import("./commands/reflog.ts")).defineReflog,
  },
  {
    name: "replay",
    summary: "the same turn again, on a fork: as it was recorded, or with another model",
    group: TIME,
    load: async () => (await import("./commands/replay.ts")).defineReplay,
  },
  {
    name: "effect",
    summary: "what an agent did in the outside world, and what nobody knows of",
    group: TIME,
    load: async () => (await import("./commands/effect.ts")).defineEffect,
  },
  {
    name: "verify",
    summary: "read and hash everything again",
    group: TIME,
    load: async () => (await import("./commands/verify.ts")).defineVerify,
  },
  {
    name: "prove",
    summary: "what a key had in a state, to be checked without us",
    group: TIME,
    load: async () => (await import("./commands/prove.ts")).defineProve,
  },
  {
    name: "gc",
    summary: "drop what retention does not keep; a dry run unless told otherwise",
    group: TIME,
    load: async () => (await import("./commands/gc.ts")).defineGc,
  },
  {
    name: "forget",
    summary: "erase what a key ever held, everywhere, for ever",
    group: TIME,
    load: async () => (await import("./commands/forget.ts")).defineForget,
  },
  {
    name: "init",
    summary: "name the bucket that keeps memory besides this machine",
    group: SYNC,
    load: async () => (await import("./commands/init.ts")).defineInit,
  },
  {
    name: "clone",
    summary: "on a new machine: from nothing to all agents",
    group: SYNC,
    load: async () => (await import("./commands/clone.ts")).defineClone,
  },
  {
    name: "sync",
    summary: "push to the bucket, pull from it, see what is owed",
    group: SYNC,
    load: async () => (await import("./commands/sync.ts")).defineSync,
  },
  {
    name: "vault",
    summary: "which machines can read and write: let one in, take one out",
    group: SYNC,
    load: async () => (await import("./commands/vault.ts")).defineVault,
  },
  {
    name: "export",
    summary: "write an agent with its history as one tar",
    group: FILES,
    load: async () => (await import("./commands/export.ts")).defineExport,
  },
  {
    name: "import",
    summary: "bring an agent from a file",
    group: FILES,
    load: async () => (await import("./commands/import.ts")).defineImport,
  },
];
