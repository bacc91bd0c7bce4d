import {
  type AgentRequest,
  asVlinderError,
  type BatchReply,
  type BranchName,
  type DeleteReply,
  type GetReply,
  type Key,
  keyText,
  LIMITS,
  MAIN,
  type PipelineResult,
  type PutReply,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { StateEngine } from "../state/engine.ts";
import type { Op } from "../state/mutations.ts";
import { agentOf, refuseTurn } from "./agent-access.ts";
import { page } from "./page.ts";
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

async function get(engine: StateEngine, request: Write<AgentRequest<"kv.get">>): Promise<GetReply> {
  refuseTurn(request.turn);
  const view = await engine.stateOf(request.branch, request.at);
  const entry = await view.get("kv", request.key);
  if (entry === null) throw missing(request.key, view.commit);
  const { hash, size } = entry;
  return { value: await engine.requiredValue(hash, size), hash, size, state: view.commit };
}

export function missing(key: Key, state: string): VlinderError {
  return new VlinderError("not_found", `there is no key ${keyText(key)}`, { details: { key: keyText(key), state } });
}

/**
 * Independent operations in list order. Puts are handed over at once and become durable together; a
 * later operation on the same key waits for the one before it.
 */
async function pipeline(engine: StateEngine, ops: AgentRequest<"kv.pipeline">["ops"]): Promise<PipelineResult[]> {
  const before = new Map<string, Promise<unknown>>();
  const run = ops.map((op) => {
    const line = `${op.branch ?? MAIN} ${op.key}`;
    const start = (): Promise<PutReply | GetReply | DeleteReply> => {
      const { op: kind, ...request } = op;
      if (kind === "put") return put(engine, request as AgentRequest<"kv.put">);
      return kind === "get"
        ? get(engine, request as AgentRequest<"kv.get">)
        : remove(engine, request as AgentRequest<"kv.delete">);
    };
    const earlier = before.get(line);
    const work = earlier === undefined ? start() : earlier.then(start);
    const result = work.then(
      (ok): PipelineResult => ({ ok }),
      (error: unknown): PipelineResult => ({ error: asVlinderError(error).toBody() }),
    );
    before.set(line, result);
    return result;
  });
  return fitting(await Promise.all(run));
}

/** What does not fit in one reply is `too_large`, each by itself. */
function fitting(results: readonly PipelineResult[]): PipelineResult[] {
  let room = LIMITS.replyBytes - 1024;
  return results.map((result) => {
    const value = "ok" in result && "value" in result.ok ? result.ok.value.length : 0;
    const size = value + 300;
    // JSON writes bytes as base64 and control characters as six: at worst six times the size.
    if (size <= room) {
      room -= size;
      return result;
    }
    const error = new VlinderError("too_large", "the value does not fit in the reply of this pipeline", {
      details: { size: value },
      remedy: "get it with a request of its own",
    });
    return { error: error.toBody() };
  });
}

/** `vlinder.v1.<agent>.kv.*` */
export function kvHandlers(core: Core): Handlers {
  return {
    "kv.put": ({ agent, request }) => put(agentOf(core, agent).engine, request),
    "kv.get": ({ agent, request }) => get(agentOf(core, agent).engine, request),
    "kv.list": ({ agent, request }) => page(agentOf(core, agent).engine, "kv", request),
    "kv.delete": ({ agent, request }) => remove(agentOf(core, agent).engine, request),
    "kv.batch": async ({ agent, request }): Promise<BatchReply> => {
      const { engine } = agentOf(core, agent);
      const ops = request.ops.map((op) => (op.op === "put" ? putOp(op) : deleteOp(op)));
      const { state } = await engine.write({ space: "kv", kind: "kv.batch", ops, ...writeOptions(request) }, request.id);
      return { state, hashes: ops.map(({ value }) => value?.hash ?? null) };
    },
    "kv.pipeline": async ({ agent, request }) => ({ results: await pipeline(agentOf(core, agent).engine, request.ops) }),
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
