import type { AgentItem, ProcessItem } from "@vlinder/protocol";
import { MAIN } from "@vlinder/protocol";
import type { Core, OpenedAgent } from "../daemon-core.ts";

type RegistryItem = ReturnType<Core["registry"]["list"]>[number];

/** An agent's line in `status` and `agent list`. One that can't be read has its error in place of numbers. */
export async function agentItem(
  { name, agent, registration, error }: RegistryItem,
  process: ProcessItem | null,
): Promise<AgentItem> {
  const base = {
    agent: name,
    dir: registration?.source ?? null,
    description: agent?.manifest?.description ?? null,
    branch: MAIN,
  };
  const nothing = { state: "" as AgentItem["state"], keys: 0, vectors: 0, size: 0, limit: null, time: null };
  if (agent === null) return { ...base, ...nothing, error: error?.toBody() ?? null, process };
  return { ...base, ...(await numbers(agent)), error: null, process };
}

async function numbers({
  engine,
}: OpenedAgent): Promise<Pick<AgentItem, "state" | "keys" | "vectors" | "size" | "limit" | "time">> {
  const view = await engine.stateOf();
  const [kv, vectors] = [await view.totals("kv"), await view.totals("vectors")];
  const { time = null } = await engine.commit(view.commit);
  const { bytes: size } = await engine.usage();
  const { limit } = engine.retention.quota;
  return { state: view.commit, keys: kv.count, vectors: vectors.count, size, limit, time };
}
