import { type AgentName, VlinderError } from "@vlinder/protocol";
import { isHere, keptData } from "../registry/agent-errors.ts";
import type { Registry } from "../registry/registry.ts";
import type { StateEngine } from "../state/engine.ts";
import type { VectorIndex } from "../vectors/vector-index.ts";

/**
 * Makes a new agent of a foreign file: all of it, or none. The file is closed in the end.
 * @throws conflict: there is such an agent, or data of one; what `open` and `fill` throw
 */
export async function bringWhole<Source extends { close(): Promise<void> }, Reply>(
  agents: Registry<StateEngine, VectorIndex>,
  agent: AgentName,
  open: () => Promise<Source>,
  fill: (engine: StateEngine, source: Source) => Promise<Reply>,
): Promise<Reply> {
  // Before the file is copied; `bring` asks again.
  if (agents.list().some(({ name }) => name === agent)) throw isHere(agent);
  const source = await open();
  try {
    let done: { readonly reply: Reply } | null = null;
    await agents.bring(agent, async (engine) => {
      if (engine.branches().length > 0) throw keptData(agent);
      done = { reply: await fill(engine, source) };
    });
    if (done === null) throw new VlinderError("internal", `agent "${agent}" was brought without its history`);
    return (done as { readonly reply: Reply }).reply;
  } finally {
    await source.close();
  }
}
