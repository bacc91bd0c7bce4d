import type Anthropic from "@anthropic-ai/sdk";
import type { z } from "zod";
import { SCHEMAS, type AnthropicMessage, type MessagesRequest } from "./anthropic-schema.ts";
import { parse } from "./body.ts";
import { check, type Flaw } from "./flaw.ts";
import { echo, generate, halves, idOf, type Answer, type Asked, type Generated, type Turn } from "./generation.ts";
import { json, Refusal, sse, type Problem, type Provider, type Received, type Reply, type Whole } from "./provider.ts";

type Event = Anthropic.RawMessageStreamEvent | { readonly type: "ping" };

export const ANTHROPIC_MODELS: ReadonlySet<string> = new Set(["claude-haiku-4-5"]);

const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  404: "not_found_error",
  405: "invalid_request_error",
  429: "rate_limit_error",
  529: "overloaded_error",
};

function errorBody({ status, message }: Problem): object {
  const request_id = idOf("req_", message);
  return { type: "error", error: { type: TYPES[status] ?? "api_error", message }, request_id };
}

function refuse(problem: Problem): Whole {
  return json(errorBody(problem), { "request-id": idOf("req_", problem.message) }, problem.status);
}

function bad(message: string): Refusal {
  return new Refusal({ status: 400, message });
}

const WANTED: Readonly<Record<string, string>> = {
  array: "list",
  int: "integer",
  object: "object",
  record: "dictionary",
};

/** @throws Refusal 400, as Anthropic words it */
function refuseFlaw({ kind, path, wanted, message }: Flaw): never {
  const place = path.join(".");
  if (kind === "missing") throw bad(`${place}: Field required`);
  if (kind === "unknown") throw bad(`${place}: Extra inputs are not permitted`);
  throw bad(`${place}: ${kind === "type" ? `Input should be a valid ${WANTED[wanted] ?? wanted}` : message}`);
}

/**
 * The key in `x-api-key` or, as the SDK sends it since 1.0, in `Authorization: Bearer`; where both come, both have
 * to be it, so that nothing is left of a key that was replaced. And an `anthropic-version` that there is.
 * @throws Refusal 401, 400
 */
function authorize({ headers }: Received, key: string): void {
  const { authorization } = headers;
  const given = [headers["x-api-key"], authorization?.replace(/^Bearer /, "")].filter((one) => one !== undefined);
  if (given.length === 0) throw new Refusal({ status: 401, message: "x-api-key header is required" });
  if (given.some((one) => one !== key)) {
    const message = headers["x-api-key"] === undefined ? "Invalid bearer token" : "invalid x-api-key";
    throw new Refusal({ status: 401, message });
  }
  schemaOf(headers);
}

/** What the request's `anthropic-version` takes. @throws Refusal 400 */
function schemaOf(headers: Received["headers"]): z.ZodType<MessagesRequest> {
  const version = headers["anthropic-version"];
  if (version === undefined) throw bad("anthropic-version: header is required");
  const known = Object.entries(SCHEMAS).find(([name]) => name === version);
  if (known === undefined) throw bad(`anthropic-version: "${String(version)}" is not a valid version`);
  return known[1];
}

type Block = Exclude<AnthropicMessage["content"], string>[number];

function blocksOf({ content }: AnthropicMessage): readonly Block[] {
  return typeof content === "string" ? [{ type: "text", text: content }] : content;
}

/** A `tool_use` is answered in the next message, a `tool_result` answers one of the message before. @throws Refusal 400 */
function checkTools(messages: readonly AnthropicMessage[]): void {
  let open = new Set<string>();
  for (const [i, message] of [...messages, null].entries()) {
    const blocks = message === null ? [] : blocksOf(message);
    for (const [k, block] of blocks.entries()) {
      if (block.type !== "tool_result" || open.delete(block.tool_use_id)) continue;
      throw bad(
        `messages.${i}.content.${k}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${block.tool_use_id}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
      );
    }
    if (open.size > 0) {
      throw bad(
        `messages.${i - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${[...open].join(", ")}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
      );
    }
    open = new Set(blocks.flatMap((block) => (block.type === "tool_use" ? [block.id] : [])));
  }
}

function textOf(content: string | readonly { readonly type: string }[] | undefined): string {
  if (content === undefined || typeof content === "string") return content ?? "";
  return content.map((block) => ("text" in block ? String(block.text) : "")).join("");
}

/** A message's tool results are turns of their own, before its text. */
function turnsOf(message: AnthropicMessage): Turn[] {
  const blocks = blocksOf(message);
  const results = blocks.flatMap((block): Turn[] =>
    block.type === "tool_result" ? [{ role: "tool", text: textOf(block.content) }] : [],
  );
  const text = textOf(blocks.filter(({ type }) => type === "text"));
  return results.length > 0 && text === "" ? results : [...results, { role: message.role, text }];
}

function askedBy({ model, messages, system, tools = [], tool_choice: choice, max_tokens }: MessagesRequest): Asked {
  const names = tools.map(({ name }) => name);
  const named = choice?.type === "tool" ? choice.name : null;
  if (named !== null && !names.includes(named)) throw bad(`Tool '${named}' not found in provided tools`);
  const turns = messages.flatMap((message) => turnsOf(message));
  return {
    model,
    turns: system === undefined ? turns : [{ role: "system", text: textOf(system) }, ...turns],
    tools: choice?.type === "none" ? [] : named === null ? names : [named],
    toolRequired: choice?.type === "any" || named !== null,
    limit: max_tokens,
  };
}

function messageOf(id: string, model: string, made: Generated): Anthropic.Message {
  const content: Anthropic.ContentBlock[] =
    made.calls.length === 0
      ? [{ type: "text", text: made.pieces.join(""), citations: null }]
      : made.calls.map(({ name, input }, i) => ({
          type: "tool_use",
          id: idOf("toolu_", `${id}${i}`),
          caller: { type: "direct" },
          name,
          input,
        }));
  return {
    id,
    type: "message",
    role: "assistant",
    model,
    content,
    container: null,
    diagnostics: null,
    stop_details: null,
    stop_reason: made.calls.length > 0 ? "tool_use" : made.cut ? "max_tokens" : "end_turn",
    stop_sequence: null,
    usage: {
      input_tokens: made.promptTokens,
      output_tokens: made.completionTokens,
      output_tokens_details: null,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
      inference_geo: null,
      server_tool_use: null,
      service_tier: "standard",
      speed: null,
    },
  };
}

function* events(message: Anthropic.Message, made: Generated): Generator<Event> {
  const { usage } = message;
  const begun = { ...message, content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } };
  yield { type: "message_start", message: begun };
  for (const [index, block] of message.content.entries()) {
    if (block.type === "text") {
      yield { type: "content_block_start", index, content_block: { ...block, text: "" } };
      if (index === 0) yield { type: "ping" };
      for (const text of made.pieces) yield { type: "content_block_delta", index, delta: { type: "text_delta", text } };
    } else if (block.type === "tool_use") {
      yield { type: "content_block_start", index, content_block: { ...block, input: {} } };
      if (index === 0) yield { type: "ping" };
      for (const partial_json of ["", ...halves(JSON.stringify(block.input))]) {
        yield { type: "content_block_delta", index, delta: { type: "input_json_delta", partial_json } };
      }
    }
    yield { type: "content_block_stop", index };
  }
  const { stop_reason, stop_sequence, container, stop_details } = message;
  const { cache_creation: _c, inference_geo: _g, service_tier: _t, speed: _s, ...final } = usage;
  yield { type: "message_delta", delta: { stop_reason, stop_sequence, container, stop_details }, usage: final };
  yield { type: "message_stop" };
}

function messages(received: Received, answer: Answer): Reply {
  const body = parse(received, { status: 400, message: "The request body is not valid JSON" });
  const request = check(schemaOf(received.headers), body, refuseFlaw);
  if (!ANTHROPIC_MODELS.has(request.model)) throw new Refusal({ status: 404, message: `model: ${request.model}` });
  if (request.messages[0]?.role !== "user") throw bad('messages: first message must use the "user" role');
  checkTools(request.messages);
  const made = generate(answer, askedBy(request));
  const message = messageOf(idOf("msg_", received.body), request.model, made);
  const headers = { "request-id": idOf("req_", received.body), "anthropic-organization-id": "org-0000" };
  if (request.stream !== true) return json(message, headers);
  return {
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", ...headers },
    frames: [...events(message, made)].map((event) => sse(event, event.type)),
    errorFrame: sse(errorBody({ status: 529, message: "Overloaded" }), "error"),
  };
}

/**
 * Anthropic: Messages. Every request has to bring exactly this key, as `x-api-key` or as a bearer, and an
 * `anthropic-version` that exists, every POST `Content-Type: application/json`. Fields that the API doesn't have are refused, and so
 * is a wrong type, a missing `max_tokens`, empty text, a tool's result without its use or the other way round,
 * a model that isn't one of these.
 */
export function anthropic(key: string, answer: Answer = echo): Provider {
  return {
    name: "anthropic",
    routes: { "POST /v1/messages": (received) => messages(received, answer) },
    authorize: (received) => authorize(received, key),
    refuse,
    unknownRoute: (_received, pathIsKnown) =>
      pathIsKnown ? { status: 405, message: "Method Not Allowed" } : { status: 404, message: "Not Found" },
    wrongContentType: () => ({ status: 400, message: "Content-Type: must be application/json" }),
    failure: (status) => {
      if (status === 429) return { status, message: "This request would exceed your account's rate limit." };
      return { status, message: status === 529 ? "Overloaded" : "Internal server error" };
    },
  };
}
