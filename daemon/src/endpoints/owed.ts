import type { AgentName, PipelineResult, SyncOwed } from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";

/** The reply of a write, with what the bucket lacks of the agent, when it lacks something. */
export async function withOwed<Reply extends object>(
  core: Core,
  agent: AgentName,
  reply: Reply,
): Promise<Reply & { readonly sync?: SyncOwed }> {
  const sync = await owedOf(core, agent);
  return sync === null ? reply : { ...reply, sync };
}

/** The same for a write that may be one of a turn: nothing of that is owed before the turn ends. */
export function owing<Reply extends object>(
  core: Core,
  agent: AgentName,
  turn: string | undefined,
  reply: Reply | Promise<Reply>,
): (Reply & { readonly sync?: SyncOwed }) | Promise<Reply & { readonly sync?: SyncOwed }> {
  if (turn !== undefined || core.sync.bucket === null) return reply;
  return Promise.resolve(reply).then((written) => withOwed(core, agent, written));
}

/** The same for the writes of a pipeline: there without the error, which may be as long as all the rest; the lock says that there is one. */
export async function allWithOwed(
  core: Core,
  agent: AgentName,
  results: readonly PipelineResult[],
): Promise<readonly PipelineResult[]> {
  const sync = results.some(isWrite) ? await owedOf(core, agent) : null;
  if (sync === null) return results;
  const { error: _, ...short } = sync;
  return results.map((result) => (isWrite(result) ? { ok: { ...result.ok, sync: short } } : result));
}

type Written = Extract<PipelineResult, { readonly ok: unknown }>;

function isWrite(result: PipelineResult): result is Written {
  return "ok" in result && !("value" in result.ok);
}

async function owedOf(core: Core, agent: AgentName): Promise<SyncOwed | null> {
  if (core.sync.bucket === null) return null;
  try {
    return await core.schedule.owed(agent);
  } catch {
    // The write is durable and must be answered as such; `status` shows what is wrong with sync.
    return null;
  }
}
