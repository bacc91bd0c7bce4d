import { type AgentName, VlinderError } from "@vlinder/protocol";
import type { SyncAgentFacts } from "./schedule/schedule.ts";

export function noBucket(): VlinderError {
  return new VlinderError("unavailable", "there is no bucket: memory is kept only on this machine", {
    remedy: "vlinder init file:///path/to/folder",
    retryable: false,
  });
}

export function notHere(agent: AgentName): VlinderError {
  return new VlinderError("not_registered", `agent ${agent} is neither here nor in the bucket`, {
    remedy: "see vlinder agent list; vlinder agent add DIR registers one",
    details: { agent },
  });
}

export function removedHere(agent: AgentName): VlinderError {
  return new VlinderError("not_registered", `agent ${agent} was removed here, so a pull does not bring it back`, {
    remedy: "vlinder agent add DIR registers it again; then pull",
    details: { agent },
  });
}

/** In the place of an agent's status, when its bookkeeping can't be read. */
export function unknownStatus(agent: AgentName, error: VlinderError): SyncAgentFacts {
  const owed = { commits: 0, bytes: 0 };
  return { agent, owed, since: null, pushed: null, pulled: null, error: error.toBody(), notes: [], heads: [] };
}
