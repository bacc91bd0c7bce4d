import type OpenAI from "openai";
import type { z } from "zod";
import { chatSchema, type ChatMessage, type ChatRequest } from "./openai-chat-schema.ts";
import { parseAsOpenai, refuseFlaw } from "./openai-wire.ts";
import { check, type Flaw } from "./flaw.ts";
import { generate, halves, idOf, type Answer, type Asked, type Generated, type Turn } from "./generation.ts";
import { json, Refusal, sse, type Problem, type Received, type Reply } from "./provider.ts";

type Chunk = OpenAI.ChatCompletionChunk;
type Delta = OpenAI.ChatCompletionChunk.Choice.Delta;
type FinishReason = "stop" | "length" | "tool_calls";

/** In what the servers that speak OpenAI's Chat Completions differ. */
export interface ChatDialect {
  readonly models: ReadonlySet<string>;
  readonly answer: Answer;
  readonly schema: z.ZodType<ChatRequest>;
  unknownModel(model: string): Problem;
  /** Said of a body that is wrong. @throws Refusal */
  refuse(flaw: Flaw): never;
  /** The request's own checks beyond the schema. @throws Refusal */
  checkRequest(request: ChatRequest): void;
  /** Fields that each completion and each chunk has besides the common ones. */
  readonly stamp: object;
  /** Written before the first chunk. */
  readonly preamble: readonly string[];
  /** `always`: at the end of every stream; `asked`: where `stream_options.include_usage` says so. */
  readonly usageInStream: "always" | "asked";
  usage(usage: OpenAI.CompletionUsage): object;
  headers(id: string): Readonly<Record<string, string>>;
  readonly errorFrame: string;
}

export const CREATED = 1_750_000_000;

/** OpenAI's own dialect. */
export function openaiDialect(models: ReadonlySet<string>, answer: Answer, errorFrame: string): ChatDialect {
  return {
    models,
    answer,
    schema: chatSchema,
    unknownModel: (model) => ({
      status: 404,
      message: `The model \`${model}\` does not exist or you do not have access to it.`,
      code: "model_not_found",
    }),
    refuse: refuseFlaw,
    checkRequest: checkStreamOptions,
    stamp: { service_tier: "default", system_fingerprint: "fp_0000000000" },
    preamble: [],
    usageInStream: "asked",
    usage: (usage) => usage,
    headers: (id) => ({ "x-request-id": idOf("req_", id, 32), "openai-version": "2020-10-01" }),
    errorFrame,
  };
}

/** @throws Refusal 400 */
export function checkStreamOptions({ stream, stream_options }: ChatRequest): void {
  if (stream_options == null || stream === true) return;
  const message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
  throw new Refusal({ status: 400, message, param: "stream_options" });
}

function textOf(content: ChatMessage["content"]): string {
  if (content == null) return "";
  if (typeof content === "string") return content;
  return content.map((part) => (part.type === "text" ? part.text : "")).join("");
}

/** Every call of a tool is answered right after it, and nothing else is. @throws Refusal 400 */
function checkToolMessages(messages: readonly ChatMessage[]): void {
  let open = new Set<string>();
  for (const [i, message] of [...messages, null].entries()) {
    if (message?.role === "tool") {
      if (open.delete(message.tool_call_id)) continue;
      const text =
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
      throw new Refusal({ status: 400, message: text, param: `messages.[${i}].role` });
    }
    if (open.size > 0) {
      const text = `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${[...open].join(", ")}`;
      throw new Refusal({ status: 400, message: text, param: `messages.[${i}].role` });
    }
    open = new Set(message?.role === "assistant" ? message.tool_calls?.map(({ id }) => id) : []);
  }
}

function askedBy(request: ChatRequest): Asked {
  const { messages, tools = [], tool_choice: choice = "auto" } = request;
  const turns = messages.map((message): Turn => {
    const role = message.role === "developer" ? "system" : message.role;
    return { role, text: textOf(message.content) };
  });
  const named = typeof choice === "object" ? choice.function.name : null;
  const names = tools.map((one) => one.function.name);
  if (named !== null && !names.includes(named)) {
    const message = `Invalid value for 'tool_choice': no function named '${named}' was specified in the 'tools' parameter.`;
    throw new Refusal({ status: 400, message, param: "tool_choice" });
  }
  return {
    model: request.model,
    turns,
    tools: choice === "none" ? [] : named === null ? names : [named],
    toolRequired: choice === "required" || named !== null,
    limit: request.max_completion_tokens ?? request.max_tokens ?? null,
  };
}

function usageOf({ promptTokens, completionTokens }: Generated): OpenAI.CompletionUsage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

function whole(id: string, request: ChatRequest, made: Generated, reason: FinishReason): OpenAI.ChatCompletion {
  const calls = made.calls.map(({ name, input }, i) => ({
    id: idOf("call_", `${id}${i}`),
    type: "function" as const,
    function: { name, arguments: JSON.stringify(input) },
  }));
  const message: OpenAI.ChatCompletionMessage = {
    role: "assistant",
    content: calls.length > 0 ? null : made.pieces.join(""),
    refusal: null,
    annotations: [],
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
  const choices = [{ index: 0, message, logprobs: null, finish_reason: reason }];
  return { id, object: "chat.completion", created: CREATED, model: request.model, choices };
}

function* deltas(id: string, made: Generated): Generator<Delta> {
  if (made.calls.length === 0) yield { role: "assistant", content: "", refusal: null };
  for (const content of made.pieces) yield { content };
  for (const [index, { name, input }] of made.calls.entries()) {
    const call = {
      index,
      id: idOf("call_", `${id}${index}`),
      type: "function" as const,
      function: { name, arguments: "" },
    };
    yield index === 0 ? { role: "assistant", content: null, tool_calls: [call] } : { tool_calls: [call] };
    for (const part of halves(JSON.stringify(input))) yield { tool_calls: [{ index, function: { arguments: part } }] };
  }
}

/** `POST …/chat/completions`. @throws Refusal */
export function chat(received: Received, dialect: ChatDialect): Reply {
  const request = check(dialect.schema, parseAsOpenai(received), (flaw) => dialect.refuse(flaw));
  if (!dialect.models.has(request.model)) throw new Refusal(dialect.unknownModel(request.model));
  dialect.checkRequest(request);
  checkToolMessages(request.messages);
  const made = generate(dialect.answer, askedBy(request));
  const reason = made.calls.length > 0 ? "tool_calls" : made.cut ? "length" : "stop";
  const id = idOf("chatcmpl-", received.body);
  const usage = dialect.usage(usageOf(made));
  if (request.stream !== true) {
    return json({ ...whole(id, request, made, reason), ...dialect.stamp, usage }, dialect.headers(id));
  }
  const withUsage = dialect.usageInStream === "always" || request.stream_options?.include_usage === true;
  const head = {
    id,
    object: "chat.completion.chunk" as const,
    created: CREATED,
    model: request.model,
    ...dialect.stamp,
  };
  const nullUsage = withUsage && dialect.usageInStream === "asked" ? { usage: null } : {};
  const chunk = (delta: Delta, finish_reason: FinishReason | null): Chunk => ({
    ...head,
    choices: [{ index: 0, delta, logprobs: null, finish_reason }],
    ...nullUsage,
  });
  const frames = [
    ...dialect.preamble,
    ...[...deltas(id, made)].map((delta) => sse(chunk(delta, null))),
    sse(chunk({}, reason)),
    ...(withUsage ? [sse({ ...head, choices: [], usage })] : []),
    sse("[DONE]"),
  ];
  const headers = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    ...dialect.headers(id),
  };
  return { headers, frames, errorFrame: dialect.errorFrame };
}
