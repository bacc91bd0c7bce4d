import type { z } from "zod";
import { parse } from "./body.ts";
import { check, type Flaw } from "./flaw.ts";
import { echo, generate, tokens, unitVector, type Answer, type Generated } from "./generation.ts";
import { chatSchema, embedSchema, generateSchema } from "./ollama-schema.ts";
import { chat as openaiChat, checkStreamOptions, openaiDialect, type ChatDialect } from "./openai-chat.ts";
import { embeddings as openaiEmbeddings } from "./openai-embeddings.ts";
import { modelList } from "./openai.ts";
import { json, Refusal, sse, type Problem, type Provider, type Received, type Reply, type Whole } from "./provider.ts";

/** Chat models; a name without a tag means `latest`. */
const MODELS: ReadonlySet<string> = new Set(["llama3.2:latest"]);
const EMBEDDING_MODELS: ReadonlyMap<string, number> = new Map([["nomic-embed-text:latest", 768]]);
const CREATED_AT = "2025-06-15T15:06:40.000000Z";

function tagged(model: string): string {
  return model.includes(":") ? model : `${model}:latest`;
}

/** What an OpenAI client knows a model by: with the tag and without. */
function bothNames<V>(models: Iterable<readonly [string, V]>): Map<string, V> {
  return new Map(
    [...models].flatMap(([name, value]) => [[name, value] as const, [name.replace(/:latest$/, ""), value] as const]),
  );
}

const COMPATIBLE_MODELS: ReadonlySet<string> = new Set(bothNames([...MODELS].map((name) => [name, 0] as const)).keys());

const TYPES: Readonly<Record<number, string>> = { 400: "invalid_request_error", 404: "not_found_error" };

/** `{"error": "…"}`; below `/v1` OpenAI's form; a path that isn't there is said in plain text. */
function refuse({ status, message, code }: Problem, path: string): Whole {
  if (code === "plain") return { status, headers: { "content-type": "text/plain" }, body: message };
  if (!path.startsWith("/v1/")) return json({ error: message }, {}, status);
  return json({ error: { message, type: TYPES[status] ?? "api_error", param: null, code: null } }, {}, status);
}

function notFound(model: string): Refusal {
  return new Refusal({ status: 404, message: `model '${model}' not found` });
}

function refuseFlaw({ kind, path, wanted, got, message }: Flaw): never {
  const place = path.join(".");
  if (kind === "missing") throw new Refusal({ status: 400, message: `${place} is required` });
  if (kind === "unknown") throw new Refusal({ status: 400, message: `json: unknown field "${place}"` });
  const type = `json: cannot unmarshal ${got} into Go struct field ${place} of type ${wanted}`;
  throw new Refusal({ status: 400, message: kind === "type" ? type : `${place}: ${message}` });
}

function read<S extends z.ZodType>(received: Received, schema: S): z.output<S> {
  const message = received.body === "" ? "missing request body" : "invalid character in the request body";
  return check(schema, parse(received, { status: 400, message }), refuseFlaw);
}

/** What ends an answer: counts, and durations in nanoseconds. */
function statistics({ promptTokens, completionTokens, cut }: Generated): object {
  return {
    done: true,
    done_reason: cut ? "length" : "stop",
    total_duration: 3_000_000 + completionTokens * 1_000_000,
    load_duration: 1_000_000,
    prompt_eval_count: promptTokens,
    prompt_eval_duration: 2_000_000,
    eval_count: completionTokens,
    eval_duration: completionTokens * 1_000_000,
  };
}

/** NDJSON by default, one object when `stream` is false. */
function reply(stream: boolean | undefined, parts: readonly object[], all: object): Reply {
  if (stream === false) return json(all, { "content-type": "application/json; charset=utf-8" });
  return {
    headers: { "content-type": "application/x-ndjson" },
    frames: parts.map((part) => `${JSON.stringify(part)}\n`),
    errorFrame: `${JSON.stringify({ error: "an error was encountered while running the model: unexpected EOF" })}\n`,
  };
}

/** A model is loaded without being asked anything. */
const LOADED = { done: true, done_reason: "load" };

function chat(received: Received, answer: Answer): Reply {
  const { model, messages = [], tools = [], options, stream } = read(received, chatSchema);
  if (!MODELS.has(tagged(model))) throw notFound(model);
  const head = { model, created_at: CREATED_AT };
  const said = (content: string) => ({ role: "assistant", content });
  if (messages.length === 0) return reply(false, [], { ...head, message: said(""), ...LOADED });
  const made = generate(answer, {
    model,
    turns: messages.map(({ role, content = "" }) => ({ role, text: content })),
    tools: tools.map((tool) => tool.function.name),
    toolRequired: false,
    limit: limitOf(options),
  });
  const calls = made.calls.map(({ name, input }) => ({ function: { name, arguments: input } }));
  const call = calls.length > 0 ? { tool_calls: calls } : {};
  const pieces = made.pieces.map((piece) => ({ ...head, message: said(piece), done: false }));
  const called = calls.length > 0 ? [{ ...head, message: { ...said(""), ...call }, done: false }] : [];
  const last = { ...head, message: said(""), ...statistics(made) };
  const all = { ...head, message: { ...said(made.pieces.join("")), ...call }, ...statistics(made) };
  return reply(stream, [...pieces, ...called, last], all);
}

/** `num_predict`; what is negative means no limit. */
function limitOf(options: z.output<typeof chatSchema>["options"]): number | null {
  const limit = options?.num_predict ?? -1;
  return limit < 0 ? null : limit;
}

function complete(received: Received, answer: Answer): Reply {
  const { model, prompt = "", system, options, stream, raw } = read(received, generateSchema);
  if (!MODELS.has(tagged(model))) throw notFound(model);
  const head = { model, created_at: CREATED_AT };
  if (prompt === "") return reply(false, [], { ...head, response: "", ...LOADED });
  const made = generate(answer, {
    model,
    turns: [
      ...(system === undefined ? [] : [{ role: "system" as const, text: system }]),
      { role: "user", text: prompt },
    ],
    tools: [],
    toolRequired: false,
    limit: limitOf(options),
  });
  const context = raw === true ? {} : { context: [1, 2, 3] };
  const pieces = made.pieces.map((response) => ({ ...head, response, done: false }));
  const end = { ...context, ...statistics(made) };
  return reply(stream, [...pieces, { ...head, response: "", ...end }], {
    ...head,
    response: made.pieces.join(""),
    ...end,
  });
}

function embed(received: Received): Whole {
  const { model, input, dimensions } = read(received, embedSchema);
  const full = EMBEDDING_MODELS.get(tagged(model));
  if (full === undefined) throw notFound(model);
  const texts = typeof input === "string" ? [input] : input;
  return json({
    model,
    embeddings: texts.map((text) => unitVector(text, Math.min(dimensions ?? full, full))),
    total_duration: 2_000_000,
    load_duration: 1_000_000,
    prompt_eval_count: texts.reduce((sum, text) => sum + tokens(text).length, 0),
  });
}

function tags(): Whole {
  const models = [...MODELS, ...EMBEDDING_MODELS.keys()].map((name) => ({
    name,
    model: name,
    modified_at: CREATED_AT,
    size: 2_019_393_189,
    digest: "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
    details: {
      parent_model: "",
      format: "gguf",
      family: "llama",
      families: ["llama"],
      parameter_size: "3.2B",
      quantization_level: "Q4_K_M",
    },
  }));
  return json({ models });
}

function compatible(answer: Answer): ChatDialect {
  const error = { message: "unexpected EOF", type: "api_error", param: null, code: null };
  return {
    ...openaiDialect(COMPATIBLE_MODELS, answer, sse({ error })),
    unknownModel: (model) => notFound(model).problem,
    refuse: refuseFlaw,
    checkRequest: checkStreamOptions,
    stamp: { system_fingerprint: "fp_ollama" },
    headers: () => ({}),
  };
}

/**
 * Ollama: its own routes (`/api/chat`, `/api/generate`, `/api/embed`, `/api/tags`, `/api/version`) and those
 * that are OpenAI's (`/v1/…`). It has no keys; one that comes along is not looked at. Unlike the real one, which
 * ignores them, this refuses fields that it doesn't know and bodies that aren't called JSON: what arrives here is
 * made by a SDK, and has to have arrived whole.
 */
export function ollama(answer: Answer = echo): Provider {
  const dialect = compatible(answer);
  const embeddingModels = bothNames(EMBEDDING_MODELS);
  return {
    name: "ollama",
    routes: {
      "POST /api/chat": (received) => chat(received, answer),
      "POST /api/generate": (received) => complete(received, answer),
      "POST /api/embed": embed,
      "GET /api/tags": tags,
      "GET /api/version": () => json({ version: "0.12.0" }),
      "POST /v1/chat/completions": (received) => openaiChat(received, dialect),
      "POST /v1/embeddings": (received) =>
        openaiEmbeddings(received, {
          models: embeddingModels,
          unknownModel: (model) => notFound(model).problem,
          refuse: refuseFlaw,
        }),
      "GET /v1/models": () => modelList([...MODELS, ...EMBEDDING_MODELS.keys()], "library"),
    },
    authorize: () => {},
    refuse,
    unknownRoute: (_received, pathIsKnown) =>
      pathIsKnown
        ? { status: 405, message: "405 method not allowed", code: "plain" }
        : { status: 404, message: "404 page not found", code: "plain" },
    wrongContentType: () => ({ status: 400, message: "Content-Type has to be application/json" }),
    failure: (status) => {
      if (status === 429) return { status, message: "too many requests" };
      const message =
        status === 503 ? "server busy, please try again. maximum pending requests exceeded" : "unexpected EOF";
      return { status, message };
    },
  };
}
