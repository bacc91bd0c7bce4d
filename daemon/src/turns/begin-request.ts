import type { AgentRequest, BranchName } from "@vlinder/protocol";
import type { BeginRequest } from "../state/turns/turns.ts";

type Asked = AgentRequest<"turn.begin"> | AgentRequest<"run">;

/** What a request to begin a turn asks of the engine. */
export function beginRequest(
  { session, input, limit, retries, provider, model }: Asked,
  branch: BranchName,
): BeginRequest {
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
