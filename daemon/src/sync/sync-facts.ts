import {
  type AgentName,
  asVlinderError,
  type DeviceId,
  type SyncStatusReply,
  type VaultDevicesReply,
} from "@vlinder/protocol";
import type { AgentSync } from "./agent-sync.ts";
import type { SyncAgent } from "./sync-options.ts";
import type { SyncAgentFacts } from "./schedule/schedule.ts";
import { unknownStatus } from "./sync-errors.ts";

/** What is known of each agent; with `beside`, also how its branches stand beside those of other machines. */
export async function agentFacts<Agent extends { readonly name: AgentName }>(
  agents: readonly Agent[],
  open: (agent: Agent) => AgentSync,
  beside: boolean,
): Promise<SyncAgentFacts[]> {
  const items: SyncAgentFacts[] = [];
  for (const agent of agents) {
    try {
      const sync = open(agent);
      const status = await sync.status();
      items.push(beside ? { ...status, branches: await sync.besideOthers() } : status);
    } catch (thrown) {
      // One agent's bookkeeping must not hide all the others.
      items.push(unknownStatus(agent.name, asVlinderError(thrown)));
    }
  }
  return items;
}

/** This machine, then the others in the order of their ids. */
export function trustedDevices({ items }: VaultDevicesReply): SyncStatusReply["devices"] {
  return items
    .filter(({ trusted }) => trusted)
    .map(({ device, self, seen }) => ({ device, self, seen }))
    .toSorted((a, b) => Number(b.self) - Number(a.self) || (a.device < b.device ? -1 : 1));
}

/** When each device's newest head was written that was seen, of any of these agents. */
export function lastSeen(
  agents: readonly SyncAgent[],
  open: (one: SyncAgent) => Pick<AgentSync, "seen">,
): Map<DeviceId, string> {
  const seen = new Map<DeviceId, string>();
  for (const one of agents) {
    try {
      for (const { device, time } of open(one).seen()) {
        if (time > (seen.get(device) ?? "")) seen.set(device, time);
      }
    } catch {
      // `status` says what is wrong with the agent's bookkeeping.
    }
  }
  return seen;
}
