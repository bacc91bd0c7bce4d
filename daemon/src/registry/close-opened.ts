import type { AgentName } from "@vlinder/protocol";
import type { Logger } from "pino";
import type { EngineLike, OpenedAgent, VectorsLike } from "./agent.ts";

/** What can't be closed must not keep the rest from being closed; what was acknowledged is durable. */
export async function closeOpened(
  name: AgentName,
  { engine, vectors }: OpenedAgent<EngineLike, VectorsLike>,
  log: Logger,
): Promise<void> {
  for (const part of [vectors, engine]) {
    try {
      await part?.close();
    } catch (err) {
      log.error({ agent: name, err }, "storage did not close cleanly");
    }
  }
}
