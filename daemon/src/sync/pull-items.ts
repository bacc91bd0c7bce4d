import { type AgentName, asVlinderError, type PullReply } from "@vlinder/protocol";
import type { Pulled } from "./pull.ts";

export type PullItem = PullReply["agents"][number];

/** What a pull's reply says of an agent. @param created it came from the bucket and was not known here */
export function pulledItem(agent: AgentName, created: boolean, pulled: Pulled): PullItem {
  const { commits, objects, bytes, notes } = pulled;
  const branches = pulled.branches.map(({ name, result, head, conflicts }) => ({
    name,
    result,
    state: head,
    conflicts,
  }));
  return { agent, created, commits, objects, bytes, branches, notes, error: pulled.error?.toBody() ?? null };
}

/** The same of one that could not be pulled at all. */
export function unpulledItem(agent: AgentName, created: boolean, thrown: unknown, notes: readonly string[]): PullItem {
  const nothing = { commits: 0, objects: 0, bytes: 0, branches: [] };
  return { agent, created, ...nothing, notes, error: asVlinderError(thrown).toBody() };
}
