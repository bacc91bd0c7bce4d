import Anthropic, {
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
  type ClientOptions,
} from "@anthropic-ai/sdk";
import { describe, expect, it } from "vitest";
import { anthropic } from "../anthropic.ts";
import type { MakeFetch } from "../fetch-under-test.ts";
import { drain, MANY_BYTES, Served, waits } from "./served.ts";

const model = "claude-haiku-4-5";
const say = (content: string) => ({ model, max_tokens: 100, messages: [{ role: "user" as const, content }] });
const WEATHER: Anthropic.Tool = {
  name: "weather",
  input_schema: { type: "object", properties: { city: { type: "string" } } },
};
const CALL = 'call weather {"city":"Köln"}';

/** `@anthropic-ai/sdk`: Messages. */
export function anthropicSuite(name: string, makeFetch: MakeFetch): void {
  describe(`@anthropic-ai/sdk, ${name}`, () => {
    const served = new Served(anthropic, makeFetch);
    const client = (options: ClientOptions = {}) => new Anthropic({ ...served.right, maxRetries: 0, ...options });
    const create = (content: string) => client().messages.create(say(content));
    const stream = (content: string) => client().messages.create({ ...say(content), stream: true });

    it("answers, counts, and receives what was sent", async () => {
      const done = await client().messages.create({ ...say("two words"), system: "be brief" });
      expect(done).toMatchObject({
        content: [{ type: "text", text: "echo: two words" }],
        stop_reason: "end_turn",
        usage: { input_tokens: 4, output_tokens: 3 },
      });
      expect(done._request_id).toMatch(/^req_/);
      expect(served.body).toEqual({ ...say("two words"), system: "be brief" });
      expect(served.server.request.headers["anthropic-version"]).toBe("2026-10-21");
    });

    it("streams the events in their order", async () => {
      const { items, error } = await drain(await stream("hi"));
      expect(error).toBeNull();
      // The SDK drops the ping.
      expect(items.map(({ type }) => type)).toEqual([
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
      ]);
      expect(items.at(-2)).toMatchObject({ delta: { stop_reason: "end_turn" }, usage: { output_tokens: 2 } });
    });

    it("keeps characters whole however the bytes are cut", async () => {
      served.server.inject({ kind: "shreds", bytes: 3 });
      expect(await client().messages.stream(say(MANY_BYTES)).finalText()).toBe(`echo: ${MANY_BYTES}`);
    });

    it("stops at the limit", async () => {
      const done = await client().messages.create({ ...say("a b c d"), max_tokens: 2 });
      expect(done).toMatchObject({ content: [{ text: "echo: a" }], stop_reason: "max_tokens" });
    });

    it("calls a tool and takes its result", async () => {
      const first = await client().messages.create({ ...say(CALL), tools: [WEATHER] });
      const [use] = first.content;
      if (use?.type !== "tool_use") throw new Error("no tool was called");
      expect(first.stop_reason).toBe("tool_use");
      expect(use).toMatchObject({ name: "weather", input: { city: "Köln" } });
      const result = { type: "tool_result" as const, tool_use_id: use.id, content: "rain" };
      const messages: Anthropic.MessageParam[] = [
        ...say(CALL).messages,
        { role: "assistant", content: first.content },
        { role: "user", content: [result] },
      ];
      const second = await client().messages.create({ ...say(""), messages, tools: [WEATHER] });
      expect(second.content).toMatchObject([{ text: "result: rain" }]);
    });

    it("streams a tool's input, which the SDK puts together", async () => {
      const message = await client()
        .messages.stream({ ...say(CALL), tools: [WEATHER] })
        .finalMessage();
      expect(message.content).toMatchObject([{ type: "tool_use", input: { city: "Köln" } }]);
    });

    it("refuses a wrong key with an AuthenticationError", async () => {
      const error = await client({ ...served.wrong })
        .messages.create(say("x"))
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(AuthenticationError);
      expect(error).toMatchObject({ status: 401, type: "authentication_error" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("refuses an unknown model with a NotFoundError", async () => {
      const error = await client()
        .messages.create({ ...say("x"), model: "claude-0" })
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(NotFoundError);
      expect(error).toMatchObject({ type: "not_found_error", apiMessage: "model: claude-0" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("refuses a wrong request with a BadRequestError that names the field", async () => {
      const error = await client()
        .messages.create({ ...say("x"), max_tokens: 0 })
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(BadRequestError);
      expect(String(error)).toContain("max_tokens: ");
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("tries again after the time that a 429 names", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 1 });
      const done = await waits(1_000, () => client({ maxRetries: 1 }).messages.create(say("again")));
      expect(done.content).toMatchObject([{ text: "echo: again" }]);
      expect(served.server.requests).toHaveLength(2);
    });

    it("says 429 and 529 with errors of their own", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 7 }, { kind: "status", status: 529 });
      const limited = await create("x").catch((e: unknown) => e);
      if (!(limited instanceof RateLimitError)) throw limited;
      expect(limited.headers.get("retry-after")).toBe("7");
      const overloaded = await create("x").catch((e: unknown) => e);
      expect(overloaded).toBeInstanceOf(InternalServerError);
      expect(overloaded).toMatchObject({ status: 529, type: "overloaded_error" });
    });

    it("raises when a stream is cut, after what came before", async () => {
      served.server.inject({ kind: "cut", after: 4 });
      const { items, error } = await drain(await stream("one two three"));
      expect(items).toHaveLength(3);
      expect(error).toBeInstanceOf(Error);
    });

    it("raises the error that comes in a stream", async () => {
      served.server.inject({ kind: "error-frame", after: 4 });
      const { error } = await drain(await stream("one two three"));
      expect(error).toBeInstanceOf(APIError);
      expect(error).toMatchObject({ type: "overloaded_error" });
    });

    it("raises when the body is not JSON", async () => {
      served.server.inject({ kind: "malformed" });
      await expect(create("x")).rejects.toBeInstanceOf(Error);
    });

    it("aborts before the answer, and the server sees it", async () => {
      served.server.inject({ kind: "slow-start", ms: 400 });
      const signal = AbortSignal.timeout(100);
      await expect(client().messages.create(say("x"), { signal })).rejects.toBeInstanceOf(APIUserAbortError);
      await served.gone();
    });

    it("aborts a stream in the middle, and the server sees it", async () => {
      served.server.inject({ kind: "slow-frames", ms: 30 });
      for await (const event of await stream("many words ".repeat(50))) {
        if (event.type === "content_block_delta") break;
      }
      await served.gone();
    });
  });
}
