import { type AgentName, VlinderError } from "@vlinder/protocol";
import type { Core, OpenedAgent } from "../daemon-core.ts";
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

/** Turns are in the protocol and not in this release: to ignore the field would write where others see it. @throws not_found */
export function refuseTurn(turn: string | undefined): void {
  if (turn === undefined) return;
  throw new VlinderError("not_found", `there is no open turn "${turn}"`, {
    remedy: "this release serves no turns yet: leave the field out",
  });
}
