import { invalid } from "./errors.ts";
import { type AgentName, parseAgentName } from "./names.ts";

/** What an agent, or a person through the command line, can ask for about one agent. */
export const AGENT_OPERATIONS = [
  "kv.put",
  "kv.get",
  "kv.list",
  "kv.delete",
  "kv.batch",
  "kv.pipeline",
  "kv.history",
  "kv.blame",
  "kv.changes",
  "value.put",
  "value.get",
  "value.drop",
  "vector.put",
  "vector.get",
  "vector.list",
  "vector.delete",
  "vector.search",
  "vector.reindex",
  "timeline.log",
  "timeline.show",
  "timeline.value",
  "timeline.diff",
  "timeline.branches",
  "timeline.delete_branch",
  "timeline.reflog",
  "timeline.fork",
  "timeline.promote",
  "timeline.rewind",
  "timeline.merge",
  "timeline.verify",
  "timeline.prove",
  "timeline.gc",
  "timeline.forget",
  "turn.begin",
  "turn.accept",
  "turn.emit",
  "turn.complete",
  "turn.fail",
  "effect.begin",
  "effect.end",
  "effect.list",
  "effect.resolve",
  "turn.replay",
  "session.list",
  "session.get",
  "run",
  "run.override",
  "service.infer",
  "service.embed",
  "service.ack",
] as const;
export type AgentOperation = (typeof AGENT_OPERATIONS)[number];

/** What only the administrator can ask for. */
export const ADMIN_OPERATIONS = [
  "agents.plan",
  "agents.register",
  "agents.list",
  "agents.show",
  "agents.remove",
  "agents.restart",
  "agents.logs",
  "agents.export",
  "agents.import",
  "agents.import_vlindercli",
  "agents.import_agentvault",
  "daemon.status",
  "daemon.drain",
  "daemon.reload",
  "sync.init",
  "sync.status",
  "sync.push",
  "sync.pull",
  "vault.devices",
  "vault.request",
  "vault.add",
  "vault.distrust",
  "vault.rotate",
  "sync.retire",
  "sync.databases",
  "sync.databases_get",
  "sync.drill",
  "providers.list",
  "providers.test",
] as const;
export type AdminOperation = (typeof ADMIN_OPERATIONS)[number];

export type EventName = "commit" | "turn" | "sync";

const AGENT_ROOT = "vlinder.v1";
const ADMIN_ROOT = "vlinder.admin.v1";

export function agentSubject(agent: AgentName, operation: AgentOperation): string {
  return `${AGENT_ROOT}.${agent}.${operation}`;
}

/** The subject that the daemon subscribes for an operation of all agents. */
export function agentSubjectPattern(operation: string): string {
  return `${AGENT_ROOT}.*.${operation}`;
}

export function adminSubject(operation: AdminOperation): string {
  return `${ADMIN_ROOT}.${operation}`;
}

export function eventSubject(agent: AgentName, event: EventName): string {
  return `${AGENT_ROOT}.${agent}.events.${event}`;
}

/** Where the daemon announces turns that wait for the agent's code. */
export function invokeSubject(agent: AgentName): string {
  return `${AGENT_ROOT}.${agent}.invoke`;
}

/** The agent that a subject names. @throws invalid, also for wildcards and reserved names */
export function agentOfSubject(subject: string): AgentName {
  const start = AGENT_ROOT.length + 1;
  const end = subject.indexOf(".", start);
  if (end < 0 || !subject.startsWith(`${AGENT_ROOT}.`)) throw invalid(`not an agent's subject: ${subject}`);
  return parseAgentName(subject.slice(start, end));
}

/** Where replies to an agent go; only its own credential may subscribe there. */
export function inboxPrefix(agent: AgentName | "admin"): string {
  return `_INBOX.${agent}`;
}

/**
 * Whether the daemon may send a reply there for a request on this agent's subject (`null`: an
 * administrator's): the inbox of that agent or the administrator's. Anything else would make the
 * daemon publish where the caller may not.
 */
export function isAllowedReply(reply: string, agent: AgentName | null): boolean {
  if (/[*>\s]/.test(reply)) return false;
  if (reply.startsWith("_INBOX.admin.")) return true;
  return agent !== null && reply.startsWith(`_INBOX.${agent}.`);
}

/** The headers of an error reply, as the NATS services convention has them. */
export const ERROR_CODE_HEADER = "Nats-Service-Error-Code";
export const ERROR_HEADER = "Nats-Service-Error";

/** On a message that is not yet the reply: progress of long work, asked for with `progress: true`. */
export const PROGRESS_HEADER = "Vlinder-Progress";

/** On a message that is not yet the reply: a part of a streamed answer. Its number, from 0 without a gap. */
export const PART_HEADER = "Vlinder-Part";
