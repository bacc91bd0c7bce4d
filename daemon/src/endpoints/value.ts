import { invalid, LIMITS } from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import { agentOf, servedBy } from "./agent-access.ts";
import { missing } from "./kv.ts";
import type { AgentHandlers } from "./service.ts";

/** JSON writes a control character as six: so much always fits. */
const JSON_PART = Math.floor((LIMITS.replyBytes - 1024) / 6);

/** `vlinder.v1.<agent>.value.*`: values in parts. */
export function valueHandlers(core: Core): Pick<AgentHandlers, "value.put" | "value.get" | "value.drop"> {
  return {
    "value.put": async ({ agent, request: { upload, ...part } }) => {
      const { received, value } = await agentOf(core, agent).engine.uploads.put(upload, part);
      return { upload, received, ...(value === null ? {} : { hash: value.hash }) };
    },
    "value.get": async ({ agent, request, encoding }) => {
      const served = servedBy(agentOf(core, agent).engine, request.turn);
      const { key, branch, at, offset = 0, length = LIMITS.valueBytes } = request;
      const view = await served.stateOf(branch, at);
      const entry = await view.get("kv", key);
      if (entry === null) throw missing(key, view.commit);
      const { hash, size } = entry;
      if (offset > size) {
        throw invalid(`the range begins at ${offset}, and the value has ${size} bytes`, {
          details: { offset, size },
          remedy: "ask for bytes that it has: an offset of at most its size",
        });
      }
      const most = encoding === "json" ? Math.min(length, JSON_PART) : length;
      const bytes = await served.range(hash, size, offset, Math.min(size, offset + most));
      return { bytes, offset, hash, size, state: view.commit };
    },
    "value.drop": async ({ agent, request }) => ({ dropped: agentOf(core, agent).engine.uploads.drop(request.upload) }),
  };
}
