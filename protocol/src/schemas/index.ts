import type { z } from "zod";
import { checkRequest } from "../codec.ts";
import type { AgentOperation } from "../subjects.ts";
import { adminRequests, type AdminReplies } from "./admin.ts";
import { changesRequests, type ChangesReplies } from "./changes.ts";
import { effectRequests, type EffectReplies } from "./effect.ts";
import { kvRequests, type KvReplies } from "./kv.ts";
import { retentionRequests, type RetentionReplies } from "./retention.ts";
import { serviceRequests, type ServiceReplies } from "./service.ts";
import { timelineRequests, type TimelineReplies } from "./timeline.ts";
import { turnRequests, type TurnReplies } from "./turn.ts";
import { isUsual } from "./usual.ts";
import { valueRequests, type ValueReplies } from "./value.ts";
import { vectorRequests, type VectorReplies } from "./vector.ts";

export const agentRequests = {
  ...kvRequests,
  ...changesRequests,
  ...valueRequests,
  ...vectorRequests,
  ...timelineRequests,
  ...retentionRequests,
  ...turnRequests,
  ...effectRequests,
  ...serviceRequests,
};

export type AgentReplies = KvReplies &
  ChangesReplies &
  ValueReplies &
  VectorReplies &
  TimelineReplies &
  RetentionReplies &
  TurnReplies &
  EffectReplies &
  ServiceReplies;

/** A decoded, checked request, as the daemon sees it. */
export type AgentRequest<Op extends keyof typeof agentRequests> = z.output<(typeof agentRequests)[Op]>;
export type AdminRequest<Op extends keyof typeof adminRequests> = z.output<(typeof adminRequests)[Op]>;

/** Checks a request about an agent as its operation's schema does, and mostly without it (usual.ts). @throws invalid, too_large */
export function checkAgentRequest(operation: AgentOperation, body: unknown): unknown {
  return isUsual(operation, body) ? body : checkRequest(agentRequests[operation], body);
}

export { adminRequests, type AdminReplies };
