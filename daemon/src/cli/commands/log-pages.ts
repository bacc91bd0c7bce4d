import type { Client } from "@vlinder/agent-runtime";
import { type AgentName, type CommitItem, type Hash, LIMITS } from "@vlinder/protocol";

/** Which commits, newest first. */
export interface Wanted {
  readonly start: { readonly from?: string; readonly all?: true };
  readonly after?: string;
  readonly limit: number;
  /** Only commits of this session or turn. */
  readonly session?: string;
  readonly turn?: string;
}

/** Pages with what is wanted; each says where it would go on behind its last commit, the last one null when that is all. */
export interface LogPage {
  readonly items: readonly CommitItem[];
  readonly next: Hash | null;
}

export async function* logPages(client: Client, agent: AgentName, wanted: Wanted): AsyncGenerator<LogPage> {
  const { start, limit, session, turn } = wanted;
  const filtered = session !== undefined || turn !== undefined;
  let { after } = wanted;
  for (let left = limit; left > 0;) {
    const page = await client.request(agent, "timeline.log", {
      ...start,
      after,
      limit: filtered ? LIMITS.page : Math.min(LIMITS.page, left),
    });
    const fitting = page.items.filter(
      (item) => (session === undefined || item.session === session) && (turn === undefined || item.turn === turn),
    );
    const items = fitting.slice(0, left);
    left -= items.length;
    const cut = items.length < fitting.length ? (items.at(-1)?.hash ?? null) : page.next;
    yield { items, next: cut };
    if (page.next === null) return;
    after = page.next;
  }
}
