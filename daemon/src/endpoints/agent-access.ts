import { type AgentName, VlinderError } from "@vlinder/protocol";
import type { Core, OpenedAgent } from "../daemon-core.ts";
import type { StateEngine } from "../state/engine.ts";
import type { OpenTurn } from "../state/turns/open-turn.ts";
import type { VectorIndex } from "../vectors/vector-index.ts";

/** An agent that can be served. @throws not_registered */
export function agentOf(core: Core, name: AgentName): OpenedAgent {
  return core.registry.get(name);
}

/** Its vector index. @throws not_registered, not_declared */
export function vectorsOf(core: Core, name: AgentName): { agent: OpenedAgent; index: VectorIndex } {
  const agent = agentOf(core, name);
  if (agent.vectors !== null) return { agent, index: agent.vectors };
  throw new VlinderError("not_declared", `the agent "${name}" declares no vector storage`, {
    remedy: 'add vector_storage = "sqlite://vectors.db" to its agent.toml and run `vlinder agent add` again',
  });
}

/** Where a request reads and writes: the agent's branches, or the chain of an open turn. @throws not_found */
export function servedBy(engine: StateEngine, turn: string | undefined): StateEngine | OpenTurn {
  return turn === undefined ? engine : engine.turns.required(turn);
}
