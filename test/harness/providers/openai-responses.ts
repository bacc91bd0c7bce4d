import type OpenAI from "openai";
import { responsesSchema, type InputItem, type ResponsesRequest } from "./openai-responses-schema.ts";
import { openaiError, parseAsOpenai, refuseFlaw } from "./openai-wire.ts";
import { check } from "./flaw.ts";
import { generate, halves, idOf, tokens, type Answer, type Generated, type Turn } from "./generation.ts";
import { CREATED } from "./openai-chat.ts";
import { json, Refusal, sse, type Received, type Reply } from "./provider.ts";

type Event = OpenAI.Responses.ResponseStreamEvent;
type OutputItem = OpenAI.Responses.ResponseOutputMessage | OpenAI.Responses.ResponseFunctionToolCall;
/** As it is on the wire: `output_text` is added by the SDK. */
type WireResponse = Omit<OpenAI.Responses.Response, "output_text">;
type Unnumbered<T> = T extends unknown ? Omit<T, "sequence_number"> : never;

function textOf(content: string | readonly object[]): string {
  if (typeof content === "string") return content;
  return content.map((part) => ("text" in part ? String(part.text) : "")).join("");
}

function turnOf(item: Exclude<InputItem, { type: "item_reference" }>): Turn {
  if (item.type === "function_call_output") return { role: "tool", text: textOf(item.output) };
  if (item.type === "function_call") return { role: "assistant", text: "" };
  return { role: item.role === "developer" ? "system" : item.role, text: textOf(item.content) };
}

/**
 * `POST /v1/responses`. What it answers is kept unless the request says `store: false`, so that
 * `previous_response_id` and `item_reference` mean something.
 */
export class ResponsesApi {
  readonly #models: ReadonlySet<string>;
  readonly #answer: Answer;
  readonly #items = new Map<string, OutputItem>();
  /** Of a response all that came before it, and its output. */
  readonly #conversations = new Map<string, readonly InputItem[]>();

  constructor(models: ReadonlySet<string>, answer: Answer) {
    this.#models = models;
    this.#answer = answer;
  }

  /** @throws Refusal */
  create(received: Received): Reply {
    const request = check(responsesSchema, parseAsOpenai(received), refuseFlaw);
    if (!this.#models.has(request.model)) {
      const message = `The requested model '${request.model}' does not exist.`;
      throw new Refusal({ status: 400, message, param: "model", code: "model_not_found" });
    }
    const items = this.#resolve(request);
    checkOutputs(items);
    const made = generate(this.#answer, {
      model: request.model,
      turns: [
        ...(request.instructions == null ? [] : [{ role: "system" as const, text: request.instructions }]),
        ...items.map((item) => turnOf(item)),
      ],
      ...toolsOf(request),
      limit: request.max_output_tokens ?? null,
    });
    const id = idOf("resp_", received.body, 48);
    const output = outputOf(id, made);
    if (request.store !== false) {
      for (const item of output) this.#items.set(item.id ?? "", item);
      this.#conversations.set(id, [...items, ...(output as InputItem[])]);
    }
    const headers = { "x-request-id": idOf("req_", id, 32), "openai-version": "2020-10-01" };
    const done = responseOf(id, request, made, output);
    if (request.stream !== true) return json(done, headers);
    const frames = [...events(done)].map((event, sequence_number) => sse({ ...event, sequence_number }, event.type));
    const { error } = openaiError({ status: 500, message: "The server had an error processing your request." }) as {
      error: object;
    };
    return {
      headers: { "content-type": "text/event-stream; charset=utf-8", ...headers },
      frames,
      errorFrame: sse({ type: "error", sequence_number: frames.length, error }, "error"),
    };
  }

  #resolve(request: ResponsesRequest): Exclude<InputItem, { type: "item_reference" }>[] {
    const { input, previous_response_id: previous } = request;
    const before = previous == null ? [] : this.#conversations.get(previous);
    if (before === undefined) {
      const message = `Previous response with id '${previous}' not found.`;
      throw new Refusal({ status: 400, message, param: "previous_response_id", code: "previous_response_not_found" });
    }
    const asked: readonly InputItem[] = typeof input === "string" ? [{ role: "user", content: input }] : input;
    return [...before, ...asked].map((item) => {
      if (item.type !== "item_reference") return item;
      const found = this.#items.get(item.id);
      if (found !== undefined) return found as Exclude<InputItem, { type: "item_reference" }>;
      throw new Refusal({ status: 404, message: `Item with id '${item.id}' not found.`, param: "input" });
    });
  }
}

/** Every call is answered and every answer has its call before it. @throws Refusal 400 */
function checkOutputs(items: readonly InputItem[]): void {
  const open = new Set<string>();
  for (const item of items) {
    if (item.type === "function_call") open.add(item.call_id);
    if (item.type !== "function_call_output" || open.delete(item.call_id)) continue;
    const message = `No tool call found for function call output with call_id ${item.call_id}.`;
    throw new Refusal({ status: 400, message, param: "input" });
  }
  const [first] = open;
  if (first === undefined) return;
  throw new Refusal({ status: 400, message: `No tool output found for function call ${first}.`, param: "input" });
}

function toolsOf({ tools = [], tool_choice: choice = "auto" }: ResponsesRequest) {
  const named = typeof choice === "object" ? choice.name : null;
  const names = tools.map(({ name }) => name);
  if (named !== null && !names.includes(named)) {
    const message = `Tool choice 'function' not found in 'tools' parameter.`;
    throw new Refusal({ status: 400, message, param: "tool_choice" });
  }
  return {
    tools: choice === "none" ? [] : named === null ? names : [named],
    toolRequired: choice === "required" || named !== null,
  };
}

function outputOf(id: string, { pieces, calls, cut }: Generated): OutputItem[] {
  if (calls.length === 0) {
    const part = { type: "output_text" as const, text: pieces.join(""), annotations: [], logprobs: [] };
    const status = cut ? "incomplete" : "completed";
    return [{ id: idOf("msg_", id, 48), type: "message", role: "assistant", status, content: [part] }];
  }
  return calls.map(({ name, input }, i) => ({
    id: idOf("fc_", `${id}${i}`, 48),
    type: "function_call",
    status: "completed",
    call_id: idOf("call_", `${id}${i}`),
    name,
    arguments: JSON.stringify(input),
  }));
}

function responseOf(id: string, request: ResponsesRequest, made: Generated, output: OutputItem[]): WireResponse {
  const { promptTokens, completionTokens } = made;
  return {
    id,
    access_programs: null,
    object: "response",
    created_at: CREATED,
    completed_at: made.cut ? null : CREATED,
    status: made.cut ? "incomplete" : "completed",
    background: false,
    error: null,
    incomplete_details: made.cut ? { reason: "max_output_tokens" } : null,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    max_tool_calls: request.max_tool_calls ?? null,
    metadata: request.metadata ?? {},
    model: request.model,
    output,
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: request.previous_response_id ?? null,
    reasoning: { effort: null, summary: null },
    service_tier: "default",
    temperature: request.temperature ?? 1,
    text: { format: { type: "text" }, verbosity: "medium" },
    tool_choice: request.tool_choice ?? "auto",
    tools: (request.tools ?? []).map(({ name, description, parameters, strict }) => ({
      type: "function" as const,
      name,
      description: description ?? null,
      parameters: parameters ?? null,
      strict: strict ?? true,
    })),
    top_logprobs: 0,
    top_p: request.top_p ?? 1,
    truncation: request.truncation ?? "disabled",
    usage: {
      input_tokens: promptTokens,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens: completionTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: promptTokens + completionTokens,
    },
  };
}

function* messageEvents(
  item: OpenAI.Responses.ResponseOutputMessage,
  output_index: number,
): Generator<Unnumbered<Event>> {
  const [part] = item.content;
  if (part?.type !== "output_text") return;
  const place = { item_id: item.id, output_index, content_index: 0 };
  yield { type: "response.output_item.added", output_index, item: { ...item, status: "in_progress", content: [] } };
  yield { type: "response.content_part.added", ...place, part: { ...part, text: "" } };
  for (const delta of tokens(part.text)) {
    yield { type: "response.output_text.delta", ...place, delta, logprobs: [] };
  }
  yield { type: "response.output_text.done", ...place, text: part.text, logprobs: [] };
  yield { type: "response.content_part.done", ...place, part };
  yield { type: "response.output_item.done", output_index, item };
}

function* callEvents(
  item: OpenAI.Responses.ResponseFunctionToolCall,
  output_index: number,
): Generator<Unnumbered<Event>> {
  const place = { item_id: item.id ?? "", output_index };
  const { name } = item;
  yield { type: "response.output_item.added", output_index, item: { ...item, status: "in_progress", arguments: "" } };
  for (const delta of halves(item.arguments)) yield { type: "response.function_call_arguments.delta", ...place, delta };
  yield {
    type: "response.function_call_arguments.done",
    ...place,
    name,
    arguments: item.arguments,
  } as Unnumbered<Event>;
  yield { type: "response.output_item.done", output_index, item };
}

/** The events of a stream, in their order. */
function* events(done: WireResponse): Generator<Unnumbered<Event>> {
  const { usage: _usage, completed_at: _at, ...rest } = done;
  const begun = {
    ...rest,
    status: "in_progress",
    incomplete_details: null,
    output: [],
  } as object as OpenAI.Responses.Response;
  yield { type: "response.created", response: begun };
  yield { type: "response.in_progress", response: begun };
  for (const [index, item] of (done.output as OutputItem[]).entries()) {
    yield* item.type === "message" ? messageEvents(item, index) : callEvents(item, index);
  }
  const type = done.status === "incomplete" ? "response.incomplete" : "response.completed";
  yield { type, response: done as OpenAI.Responses.Response };
}
