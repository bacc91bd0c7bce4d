import {
  type AgentRequest,
  type Encoding,
  type Hash,
  invalid,
  LIMITS,
  type ValueGetReply,
  VlinderError,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { StateEngine } from "../state/engine.ts";
import { agentOf, servedBy } from "./agent-access.ts";
import { missing } from "./kv.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<AgentHandlers, "value.put" | "value.get" | "value.drop" | "timeline.value">;

/** JSON writes a control character as six: so much always fits. */
const JSON_PART = Math.floor((LIMITS.replyBytes - 1024) / 6);

/** `vlinder.v1.<agent>.value.*`: values in parts; `timeline.value`: the same of those that belong to a commit and no key. */
export function valueHandlers(core: Core): Handlers {
  return {
    "value.put": async ({ agent, request: { upload, ...part } }) => {
      const { received, value } = await agentOf(core, agent).engine.uploads.put(upload, part);
      return { upload, received, ...(value === null ? {} : { hash: value.hash }) };
    },
    "value.get": async ({ agent, request, encoding }) => {
      const served = servedBy(agentOf(core, agent).engine, request.turn);
      const { key, branch, at } = request;
      const view = await served.stateOf(branch, at);
      const entry = await view.get("kv", key);
      if (entry === null) throw missing(key, view.commit);
      return await partOf(served, { ...entry, state: view.commit }, request, encoding);
    },
    "value.drop": async ({ agent, request }) => ({ dropped: agentOf(core, agent).engine.uploads.drop(request.upload) }),
    "timeline.value": async ({ agent, request, encoding }) => {
      const { engine } = agentOf(core, agent);
      const { ref, name } = request;
      const state = await engine.resolve(ref);
      const { values = {} } = (await engine.commit(state)).event;
      const found = Object.hasOwn(values, name) ? values[name] : undefined;
      if (found === undefined) throw noValue(name, state, Object.keys(values));
      return await partOf(engine, { hash: found[0], size: found[1], state }, request, encoding);
    },
  };
}

/** The part of a value that is asked for, as much of it as a reply holds. @throws invalid, erased */
async function partOf(
  from: Pick<StateEngine, "range">,
  { hash, size, state }: { readonly hash: Hash; readonly size: number; readonly state: Hash },
  { offset = 0, length = LIMITS.valueBytes }: Pick<AgentRequest<"timeline.value">, "offset" | "length">,
  encoding: Encoding,
): Promise<ValueGetReply> {
  if (offset > size) {
    throw invalid(`the range begins at ${offset}, and the value has ${size} bytes`, {
      details: { offset, size },
      remedy: "ask for bytes that it has: an offset of at most its size",
    });
  }
  const most = encoding === "json" ? Math.min(length, JSON_PART) : length;
  const bytes = await from.range(hash, size, offset, Math.min(size, offset + most));
  return { bytes, offset, hash, size, state };
}

function noValue(name: string, commit: Hash, all: readonly string[]): VlinderError {
  const shown = JSON.stringify(name.slice(0, 100));
  // A commit may come from elsewhere, with names as it likes.
  const names = all.slice(0, 20).map((one) => one.slice(0, 100));
  return new VlinderError("not_found", `the event of the commit ${commit.slice(0, 12)} has no value ${shown}`, {
    details: { commit, names },
    remedy: names.length === 0 ? "timeline.show says what a commit has" : `it has ${names.join(", ")}`,
  });
}
