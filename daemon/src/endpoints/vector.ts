import {
  decodeVectorRecord,
  encodeVectorRecord,
  keyText,
  type Metadata,
  type SearchReply,
  sha256,
  type VectorReply,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import { OpenTurn } from "../state/turns/open-turn.ts";
import { servedBy, vectorsOf } from "./agent-access.ts";
import { missing, writeOptions } from "./kv.ts";
import { owing } from "./owed.ts";
import { page } from "./page.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<
  AgentHandlers,
  "vector.put" | "vector.get" | "vector.list" | "vector.delete" | "vector.search" | "vector.reindex"
>;

const DEFAULT_RESULTS = 10;

/** `vlinder.v1.<agent>.vector.*` */
export function vectorHandlers(core: Core): Handlers {
  return {
    "vector.put": async ({ agent: name, request }) => {
      const { agent } = vectorsOf(core, name);
      const { key, vector, metadata = {}, model = "", expect } = request;
      const bytes = encodeVectorRecord({ vector, model, metadata: metadata as Metadata });
      const hash = sha256(bytes);
      const op = { key, value: { hash, bytes }, ...(expect === undefined ? {} : { expect }) };
      const served = servedBy(agent.engine, request.turn);
      const { state } = await served.write(
        { space: "vectors", kind: "vector.put", ops: [op], dimension: vector.length, ...writeOptions(served, request) },
        request.id,
      );
      if (served === agent.engine) core.index(agent);
      return owing(core, name, request.turn, { state, hash });
    },
    "vector.get": async ({ agent: name, request }): Promise<VectorReply> => {
      const served = servedBy(vectorsOf(core, name).agent.engine, request.turn);
      const view = await served.stateOf(request.branch, request.at);
      const entry = await view.get("vectors", request.key);
      if (entry === null) throw missing(request.key, view.commit);
      const record = decodeVectorRecord(await served.requiredValue(entry.hash, entry.size));
      return { key: keyText(request.key), ...record, hash: entry.hash, state: view.commit };
    },
    "vector.list": ({ agent: name, request }) => page(vectorsOf(core, name).agent.engine, "vectors", request),
    "vector.delete": async ({ agent: name, request }) => {
      const { agent } = vectorsOf(core, name);
      const { key, expect } = request;
      const op = { key, value: null, ...(expect === undefined ? {} : { expect }) };
      const served = servedBy(agent.engine, request.turn);
      const { state, applied } = await served.write(
        { space: "vectors", kind: "vector.delete", ops: [op], ...writeOptions(served, request) },
        request.id,
      );
      if (served === agent.engine) core.index(agent);
      return owing(core, name, request.turn, { state, deleted: applied[0] === true });
    },
    "vector.search": async ({ agent: name, request }): Promise<SearchReply> => {
      const { agent, index } = vectorsOf(core, name);
      const { vector, limit = DEFAULT_RESULTS, prefix, filter } = request;
      const served = servedBy(agent.engine, request.turn);
      const turn = served instanceof OpenTurn && request.at === undefined ? served : null;
      const view = await (turn?.searched() ?? served.stateOf(request.branch, request.at));
      const found = await index.search(view, {
        vector,
        limit,
        ...(prefix === undefined ? {} : { prefix }),
        ...(filter === undefined ? {} : { filter }),
      });
      for (const { key, hash } of found) turn?.saw("vectors", key, hash);
      return { items: found.map(({ key, ...rest }) => ({ key: keyText(key), ...rest })), state: view.commit };
    },
    "vector.reindex": async ({ agent: name, progress }) => {
      const { index } = vectorsOf(core, name);
      const vectors = await index.reindex((done, total) => progress({ what: "index", done, total, unit: "vectors" }));
      return { vectors };
    },
  };
}
