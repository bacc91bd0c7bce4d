import OpenAI, {
  APIConnectionTimeoutError,
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
  type ClientOptions,
} from "openai";
import { describe, expect, it } from "vitest";
import type { MakeFetch } from "../fetch-under-test.ts";
import { unitVector } from "../generation.ts";
import { openai } from "../openai.ts";
import { drain, MANY_BYTES, Served, waits } from "./served.ts";

const model = "gpt-4.1-mini";
const say = (content: string) => ({ model, messages: [{ role: "user" as const, content }] });
const WEATHER: OpenAI.ChatCompletionTool = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};
const CALL = 'call weather {"city":"Köln"}';

/** `openai`: Chat Completions, Embeddings, Models. */
export function openaiSuite(name: string, makeFetch: MakeFetch): void {
  describe(`openai, ${name}`, () => {
    const served = new Served(openai, makeFetch);
    const client = (options: ClientOptions = {}) => new OpenAI({ ...served.right, maxRetries: 0, ...options });
    const create = (content: string) => client().chat.completions.create(say(content));
    const stream = (content: string) => client().chat.completions.create({ ...say(content), stream: true });

    it("answers, counts, and receives what was sent", async () => {
      const asked: OpenAI.ChatCompletionCreateParamsNonStreaming = { ...say("two words"), temperature: 0, seed: 7 };
      const done = await client().chat.completions.create(asked);
      expect(done.choices[0]).toMatchObject({ message: { content: "echo: two words" }, finish_reason: "stop" });
      expect(done.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 });
      expect(done._request_id).toMatch(/^req_/);
      expect(served.body).toEqual(asked);
    });

    it("streams in pieces, with usage at the end", async () => {
      const asked = { ...say("one two three"), stream: true as const, stream_options: { include_usage: true } };
      const { items, error } = await drain(await client().chat.completions.create(asked));
      expect(error).toBeNull();
      expect(items.map((chunk) => chunk.choices[0]?.delta.content ?? "")).toEqual([
        "",
        "echo:",
        " one",
        " two",
        " three",
        "",
        "",
      ]);
      expect(items.at(-2)).toMatchObject({ choices: [{ finish_reason: "stop" }], usage: null });
      expect(items.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } });
    });

    it("keeps characters whole however the bytes are cut", async () => {
      served.server.inject({ kind: "shreds", bytes: 3 }, { kind: "shreds", bytes: 3 });
      const { items } = await drain(await stream(MANY_BYTES));
      expect(items.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(`echo: ${MANY_BYTES}`);
      expect((await create(MANY_BYTES)).choices[0]?.message.content).toBe(`echo: ${MANY_BYTES}`);
    });

    it("stops at the limit", async () => {
      const done = await client().chat.completions.create({ ...say("a b c d"), max_completion_tokens: 2 });
      expect(done.choices[0]).toMatchObject({ message: { content: "echo: a" }, finish_reason: "length" });
    });

    it("calls a tool and takes its result", async () => {
      const { messages } = say(CALL);
      const first = await client().chat.completions.create({ model, messages, tools: [WEATHER] });
      const message = first.choices[0]?.message;
      const call = message?.tool_calls?.[0];
      if (message === undefined || call?.type !== "function") throw new Error("no tool was called");
      expect(first.choices[0]?.finish_reason).toBe("tool_calls");
      expect(call.function).toEqual({ name: "weather", arguments: '{"city":"Köln"}' });
      const assistant = { role: "assistant" as const, content: null, tool_calls: [call] };
      const result = { role: "tool" as const, tool_call_id: call.id, content: "rain" };
      const both = [...messages, assistant, result];
      const second = await client().chat.completions.create({ model, messages: both, tools: [WEATHER] });
      expect(second.choices[0]?.message.content).toBe("result: rain");
    });

    it("streams a tool's arguments, which the SDK puts together", async () => {
      const runner = client().chat.completions.stream({ ...say(CALL), tools: [WEATHER] });
      const message = await runner.finalMessage();
      expect(message.tool_calls?.[0]).toMatchObject({ function: { name: "weather", arguments: '{"city":"Köln"}' } });
    });

    it("refuses a wrong key with an AuthenticationError", async () => {
      const error = await client({ ...served.wrong })
        .models.list()
        .then(
          () => null,
          (e: unknown) => e,
        );
      expect(error).toBeInstanceOf(AuthenticationError);
      expect(error).toMatchObject({ status: 401, code: "invalid_api_key", type: "invalid_request_error" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("refuses an unknown model with a NotFoundError", async () => {
      const error = await client()
        .chat.completions.create({ ...say("x"), model: "gpt-0" })
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(NotFoundError);
      expect(error).toMatchObject({ status: 404, code: "model_not_found", param: null });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("refuses a wrong request with a BadRequestError that names the field", async () => {
      const error = await client()
        .chat.completions.create({ ...say("x"), temperature: 3 })
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(BadRequestError);
      expect(error).toMatchObject({ status: 400, param: "temperature" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("says 429 with a RateLimitError and its Retry-After", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 7 });
      const error = await create("x").catch((e: unknown) => e);
      if (!(error instanceof RateLimitError)) throw error;
      expect(error).toMatchObject({ status: 429, code: "rate_limit_exceeded" });
      expect(error.headers.get("retry-after")).toBe("7");
    });

    it("tries again after the time that a 429 names", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 1 });
      const done = await waits(1_000, () => client({ maxRetries: 1 }).chat.completions.create(say("again")));
      expect(done.choices[0]?.message.content).toBe("echo: again");
      expect(served.server.requests.map(({ body }) => JSON.parse(body) as unknown)).toEqual([
        say("again"),
        say("again"),
      ]);
    });

    it("says 500 with an InternalServerError", async () => {
      served.server.inject({ kind: "status", status: 500 });
      await expect(create("x")).rejects.toBeInstanceOf(InternalServerError);
    });

    it("raises when a stream is cut, after what came before", async () => {
      served.server.inject({ kind: "cut", after: 3 });
      const { items, error } = await drain(await stream("one two three"));
      expect(items.map((chunk) => chunk.choices[0]?.delta.content)).toEqual(["", "echo:", " one"]);
      expect(error).toBeInstanceOf(Error);
    });

    it("raises when an answer of one piece is cut", async () => {
      served.server.inject({ kind: "cut", after: 0 });
      await expect(create("x")).rejects.toBeInstanceOf(Error);
    });

    it("raises the error that comes in a stream", async () => {
      served.server.inject({ kind: "error-frame", after: 2 });
      const { items, error } = await drain(await stream("one two three"));
      expect(items).toHaveLength(2);
      expect(error).toBeInstanceOf(APIError);
      expect(error).toMatchObject({ type: "server_error" });
    });

    it("raises when the body is not JSON", async () => {
      served.server.inject({ kind: "malformed" });
      await expect(create("x")).rejects.toBeInstanceOf(SyntaxError);
    });

    it("gives up on an answer that does not begin", async () => {
      served.server.inject({ kind: "slow-start", ms: 400 });
      await expect(client({ timeout: 100 }).chat.completions.create(say("x"))).rejects.toBeInstanceOf(
        APIConnectionTimeoutError,
      );
      await served.gone();
    });

    it("aborts before the answer, and the server sees it", async () => {
      served.server.inject({ kind: "slow-start", ms: 400 });
      const signal = AbortSignal.timeout(100);
      await expect(client().chat.completions.create(say("x"), { signal })).rejects.toBeInstanceOf(APIUserAbortError);
      await served.gone();
    });

    it("aborts a stream in the middle, and the server sees it", async () => {
      served.server.inject({ kind: "slow-frames", ms: 30 });
      for await (const chunk of await stream("many words ".repeat(50))) {
        if (chunk.choices[0]?.delta.content === "echo:") break;
      }
      await served.gone();
    });

    it("embeds texts in their order, in base64 as the SDK asks", async () => {
      const input = ["tea", MANY_BYTES];
      const done = await client().embeddings.create({ model: "text-embedding-3-small", input, dimensions: 64 });
      expect(served.body).toMatchObject({ encoding_format: "base64" });
      expect(done.data.map(({ embedding }) => Array.from(embedding))).toEqual(
        input.map((text) => unitVector(text, 64)),
      );
      expect(done.usage).toEqual({ prompt_tokens: 7, total_tokens: 7 });
    });

    it("embeds in numbers when asked, at the model's full dimension", async () => {
      const asked = { model: "text-embedding-3-small", input: "tea", encoding_format: "float" as const };
      const [first] = (await client().embeddings.create(asked)).data;
      expect(first?.embedding).toEqual(unitVector("tea", 1536));
    });

    it("lists models", async () => {
      const { items } = await drain(client().models.list());
      expect(items.map(({ id }) => id)).toEqual([model, "text-embedding-3-small"]);
    });
  });
}
