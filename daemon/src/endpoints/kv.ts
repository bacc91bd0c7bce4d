import {
  type AgentRequest,
  type BatchReply,
  type BranchName,
  type DeleteReply,
  type GetReply,
  type Key,
  keyText,
  LIMITS,
  MAIN,
  type PutReply,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { StateEngine } from "../state/engine.ts";
import type { Found } from "../state/found.ts";
import type { Op } from "../state/mutations.ts";
import { agentOf, refuseTurn } from "./agent-access.ts";
import { fitting } from "./fitting.ts";
import { allWithOwed, withOwed } from "./owed.ts";
import { page } from "./page.ts";
import { type Perform, runPipeline } from "./pipeline.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<
  AgentHandlers,
  "kv.put" | "kv.get" | "kv.list" | "kv.delete" | "kv.batch" | "kv.pipeline" | "kv.history"
>;

interface PutOp {
  readonly key: Key;
  readonly value: Uint8Array;
  readonly expect?: Op["expect"] | undefined;
}

function putOp({ key, value, expect }: PutOp): Op & { value: NonNullable<Op["value"]> } {
  return { key, value: { hash: sha256(value), bytes: value }, ...(expect === undefined ? {} : { expect }) };
}

function deleteOp({ key, expect }: { key: Key; expect?: Op["expect"] | undefined }): Op {
  return { key, value: null, ...(expect === undefined ? {} : { expect }) };
}

/** The fields that every write has, without those that are absent. */
export function writeOptions(request: {
  readonly branch?: BranchName | undefined;
  readonly turn?: string | undefined;
  readonly session?: string | undefined;
}): { branch: BranchName; session?: string } {
  refuseTurn(request.turn);
  const { branch = MAIN, session } = request;
  return { branch, ...(session === undefined ? {} : { session }) };
}

type Write<Request> = Omit<Request, "op">;

async function put(engine: StateEngine, request: Write<AgentRequest<"kv.put">>): Promise<PutReply> {
  const op = putOp(request);
  const { state } = await engine.write(
    { space: "kv", kind: "kv.put", ops: [op], ...writeOptions(request) },
    request.id,
  );
  return { state, hash: op.value.hash };
}

async function remove(engine: StateEngine, request: Write<AgentRequest<"kv.delete">>): Promise<DeleteReply> {
  const ops = [deleteOp(request)];
  const { state, applied } = await engine.write(
    { space: "kv", kind: "kv.delete", ops, ...writeOptions(request) },
    request.id,
  );
  return { state, deleted: applied[0] === true };
}

function get(engine: StateEngine, request: Write<AgentRequest<"kv.get">>): GetReply | Promise<GetReply> {
  refuseTurn(request.turn);
  const found = engine.find(request.key, request.branch, request.at);
  return found instanceof Promise ? found.then((late) => getReply(request.key, late)) : getReply(request.key, found);
}

function getReply(key: Key, { state, value }: Found): GetReply {
  if (value === null) throw missing(key, state);
  return { value: value.bytes, hash: value.hash, size: value.size, state };
}

export function missing(key: Key, state: string): VlinderError {
  return new VlinderError("not_found", `there is no key ${keyText(key)}`, { details: { key: keyText(key), state } });
}

function perform(engine: StateEngine): Perform {
  return (request) => {
    if (request.op === "put") return put(engine, request);
    return request.op === "get" ? get(engine, request) : remove(engine, request);
  };
}

/** `vlinder.v1.<agent>.kv.*` */
export function kvHandlers(core: Core): Handlers {
  return {
    "kv.put": async ({ agent, request }) => withOwed(core, agent, await put(agentOf(core, agent).engine, request)),
    "kv.get": ({ agent, request }) => get(agentOf(core, agent).engine, request),
    "kv.list": ({ agent, request }) => page(agentOf(core, agent).engine, "kv", request),
    "kv.delete": async ({ agent, request }) =>
      withOwed(core, agent, await remove(agentOf(core, agent).engine, request)),
    "kv.batch": async ({ agent, request }): Promise<BatchReply> => {
      const { engine } = agentOf(core, agent);
      const ops = request.ops.map((op) => (op.op === "put" ? putOp(op) : deleteOp(op)));
      const { state } = await engine.write(
        { space: "kv", kind: "kv.batch", ops, ...writeOptions(request) },
        request.id,
      );
      return withOwed(core, agent, { state, hashes: ops.map(({ value }) => value?.hash ?? null) });
    },
    "kv.pipeline": async ({ agent, request, encoding }) => {
      const results = await runPipeline(request.ops, perform(agentOf(core, agent).engine));
      return { results: fitting(await allWithOwed(core, agent, results), encoding) };
    },
    "kv.history": async ({ agent, request }) => {
      const { engine } = agentOf(core, agent);
      const { key, branch, at, after, limit = LIMITS.defaultPage } = request;
      const { commit: state } = await engine.stateOf(branch, at);
      const last = after === undefined ? undefined : await engine.resolve(after);
      const items = [];
      let skipping = last !== undefined;
      for await (const { commit, ...entry } of engine.history(key, state)) {
        if (!skipping) items.push({ state: commit, ...entry });
        if (commit === last) skipping = false;
        if (items.length > limit) break;
      }
      const more = items.length > limit;
      const shown = items.slice(0, limit);
      return { items: shown, next: more ? (shown.at(-1)?.state ?? null) : null, state };
    },
  };
}
