import { type AgentRequest, MAIN } from "@vlinder/protocol";
import type { Manifest } from "../registry/manifest.ts";
import type { BeginRequest } from "../state/turns/turns.ts";

type Asked = AgentRequest<"turn.begin"> | AgentRequest<"run">;

/** What a request to begin a turn asks of the engine; without a limit of its own it has that of agent.toml. */
export function beginRequest(manifest: Pick<Manifest, "limits"> | null, asked: Asked): BeginRequest {
  const { branch = MAIN, session, input, retries, provider, model } = asked;
  const limit = asked.limit ?? manifest?.limits.turn ?? undefined;
  return {
    branch,
    ...(session === undefined ? {} : { session }),
    ...(input === undefined ? {} : { input }),
    ...(limit === undefined ? {} : { limit: limit * 1000 }),
    ...(retries === undefined ? {} : { retries }),
    instead: {
      ...(provider === undefined ? {} : { provider }),
      ...(model === undefined ? {} : { model }),
    },
  };
}
