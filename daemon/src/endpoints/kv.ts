import {
  type AgentRequest,
  type BatchReply,
  type BranchName,
  type DeleteReply,
  type GetReply,
  type Hash,
  type Key,
  keyText,
  LIMITS,
  MAIN,
  type PutReply,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import { andThen } from "../state/and-then.ts";
import type { StateEngine } from "../state/engine.ts";
import type { Found } from "../state/found.ts";
import type { Op, WriteReply } from "../state/mutations.ts";
import type { UploadedOp } from "../state/uploads.ts";
import { OpenTurn } from "../state/turns/open-turn.ts";
import { agentOf, servedBy } from "./agent-access.ts";
import { fitting } from "./fitting.ts";
import { allWithOwed, owing } from "./owed.ts";
import { page } from "./page.ts";
import { type Perform, runPipeline } from "./pipeline.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<
  AgentHandlers,
  "kv.put" | "kv.get" | "kv.list" | "kv.delete" | "kv.batch" | "kv.pipeline" | "kv.history"
>;

/** One of `value` and `upload` is there. */
interface PutOp {
  readonly key: Key;
  readonly value?: Uint8Array | undefined;
  readonly upload?: string | undefined;
  readonly expect?: Op["expect"] | undefined;
}

function putOp({ key, value, upload = "", expect }: PutOp): UploadedOp {
  const put = value === undefined ? { upload } : { hash: sha256(value), bytes: value };
  return { key, value: put, ...(expect === undefined ? {} : { expect }) };
}

/** The hash of each value that was put. */
function hashesOf(ops: readonly UploadedOp[], { hashes }: WriteReply): (Hash | null)[] {
  return ops.map(({ value }, i) => (value !== null && "hash" in value ? value.hash : (hashes?.[i] ?? null)));
}

function deleteOp({ key, expect }: { key: Key; expect?: Op["expect"] | undefined }): Op {
  return { key, value: null, ...(expect === undefined ? {} : { expect }) };
}

/** The fields that every write has, without those that are absent. A turn has its own branch and session. */
export function writeOptions(
  served: StateEngine | OpenTurn,
  request: { readonly branch?: BranchName | undefined; readonly session?: string | undefined },
): { branch: BranchName; session?: string } {
  const { branch = served instanceof OpenTurn ? served.branchName : MAIN, session } = request;
  return { branch, ...(session === undefined ? {} : { session }) };
}

type Write<Request> = Omit<Request, "op">;

function put(engine: StateEngine, request: Write<AgentRequest<"kv.put">>): PutReply | Promise<PutReply> {
  const served = servedBy(engine, request.turn);
  const ops = [putOp(request)];
  const asked = { space: "kv", kind: "kv.put", ops, ...writeOptions(served, request) } as const;
  return andThen(served.write(asked, request.id), (reply) => {
    return { state: reply.state, hash: hashesOf(ops, reply)[0] as Hash };
  });
}

function remove(engine: StateEngine, request: Write<AgentRequest<"kv.delete">>): DeleteReply | Promise<DeleteReply> {
  const served = servedBy(engine, request.turn);
  const asked = { space: "kv", kind: "kv.delete", ops: [deleteOp(request)], ...writeOptions(served, request) } as const;
  return andThen(served.write(asked, request.id), ({ state, applied }) => ({ state, deleted: applied[0] === true }));
}

function get(engine: StateEngine, request: Write<AgentRequest<"kv.get">>): GetReply | Promise<GetReply> {
  const served = servedBy(engine, request.turn);
  return andThen(served.find(request.key, request.branch, request.at), (found) => getReply(request.key, found));
}

function getReply(key: Key, { state, value }: Found): GetReply {
  if (value === null) throw missing(key, state);
  const { bytes, hash, size } = value;
  if (bytes === null) throw tooLarge(key, { hash, size, state });
  return { value: bytes, hash, size, state };
}

function tooLarge(key: Key, of: { readonly hash: Hash; readonly size: number; readonly state: Hash }): VlinderError {
  return new VlinderError("too_large", `the value of ${keyText(key)} has ${of.size} bytes: no reply holds it`, {
    details: { key: keyText(key), ...of, limit: LIMITS.valueBytes },
    remedy: "read it in parts with value.get; the SDK and the command line do so by themselves",
  });
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
    "kv.put": ({ agent, request }) => owing(core, agent, request.turn, put(agentOf(core, agent).engine, request)),
    "kv.get": ({ agent, request }) => get(agentOf(core, agent).engine, request),
    "kv.list": ({ agent, request }) => page(agentOf(core, agent).engine, "kv", request),
    "kv.delete": ({ agent, request }) => owing(core, agent, request.turn, remove(agentOf(core, agent).engine, request)),
    "kv.batch": ({ agent, request }): BatchReply | Promise<BatchReply> => {
      const served = servedBy(agentOf(core, agent).engine, request.turn);
      const ops = request.ops.map((op) => (op.op === "put" ? putOp(op) : deleteOp(op)));
      const asked = { space: "kv", kind: "kv.batch", ops, ...writeOptions(served, request) } as const;
      const reply = andThen(served.write(asked, request.id), (written) => {
        return { state: written.state, hashes: hashesOf(ops, written) };
      });
      return owing(core, agent, request.turn, reply);
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
      const page = { from: [state], asked: state, after: last, limit };
      const { items, next } = await engine.timeline.historyPage(key, page);
      return { items: items.map(({ commit, ...entry }) => ({ state: commit, ...entry })), next, state };
    },
  };
}
