import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, BranchItem } from "@vlinder/protocol";
import { collect } from "../pages.ts";

/** All branches of an agent, in the order of their names. */
export async function allBranches(client: Client, agent: AgentName): Promise<BranchItem[]> {
  const { items } = await collect(null, (after, limit) =>
    client.request(agent, "timeline.branches", { limit, ...(after === undefined ? {} : { after }) }),
  );
  return items;
}
