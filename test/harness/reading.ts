import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, CommitItem, Hash, ListItem } from "@vlinder/protocol";

/** All keys of an agent's main, from one state. */
export async function allKeys(client: Client, agent: string): Promise<ListItem[]> {
  const items: ListItem[] = [];
  let position: { after?: string; at?: string } = {};
  for (;;) {
    const page = await client.request(agent as AgentName, "kv.list", { limit: 1000, ...position });
    items.push(...page.items);
    if (page.next === null) return items;
    position = { after: page.next, at: page.state };
  }
}

/** All commits below main, newest first. */
export async function allCommits(client: Client, agent: string): Promise<CommitItem[]> {
  const items: CommitItem[] = [];
  let position: { after?: Hash } = {};
  for (;;) {
    const page = await client.request(agent as AgentName, "timeline.log", { limit: 1000, ...position });
    items.push(...page.items);
    if (page.next === null) return items;
    position = { after: page.next };
  }
}

/** The commit that main is at. */
export async function headOf(client: Client, agent: string): Promise<Hash> {
  const { items } = await client.request(agent as AgentName, "timeline.branches", {});
  const main = items.find(({ name }) => name === "main");
  if (main === undefined) throw new Error(`${agent} has no main`);
  return main.head;
}
