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
import { refuseTurn, vectorsOf } from "./agent-access.ts";
import { missing, writeOptions } from "./kv.ts";
import { withOwed } from "./owed.ts";
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
      const { state } = await agent.engine.write(
        { space: "vectors", kind: "vector.put", ops: [op], dimension: vector.length, ...writeOptions(request) },
        request.id,
      );
      core.index(agent);
      return withOwed(core, name, { state, hash });
    },
    "vector.get": async ({ agent: name, request }): Promise<VectorReply> => {
      refuseTurn(request.turn);
      const { engine } = vectorsOf(core, name).agent;
      const view = await engine.stateOf(request.branch, request.at);
      const entry = await view.get("vectors", request.key);
      if (entry === null) throw missing(request.key, view.commit);
      const record = decodeVectorRecord(await engine.requiredValue(entry.hash, entry.size));
      return { key: keyText(request.key), ...record, hash: entry.hash, state: view.commit };
    },
    "vector.list": ({ agent: name, request }) => page(vectorsOf(core, name).agent.engine, "vectors", request),
    "vector.delete": async ({ agent: name, request }) => {
      const { agent } = vectorsOf(core, name);
      const { key, expect } = request;
      const op = { key, value: null, ...(expect === undefined ? {} : { expect }) };
      const { state, applied } = await agent.engine.write(
        { space: "vectors", kind: "vector.delete", ops: [op], ...writeOptions(request) },
        request.id,
      );
      core.index(agent);
      return withOwed(core, name, { state, deleted: applied[0] === true });
    },
    "vector.search": async ({ agent: name, request }): Promise<SearchReply> => {
      refuseTurn(request.turn);
      const { agent, index } = vectorsOf(core, name);
      const { vector, limit = DEFAULT_RESULTS, prefix, filter } = request;
      const view = await agent.engine.stateOf(request.branch, request.at);
      const found = await index.search(view, {
        vector,
        limit,
        ...(prefix === undefined ? {} : { prefix }),
        ...(filter === undefined ? {} : { filter }),
      });
      return { items: found.map(({ key, ...rest }) => ({ key: keyText(key), ...rest })), state: view.commit };
    },
    "vector.reindex": async ({ agent: name, progress }) => {
      const { index } = vectorsOf(core, name);
      const vectors = await index.reindex((done, total) => progress({ what: "index", done, total, unit: "vectors" }));
      return { vectors };
    },
  };
}
