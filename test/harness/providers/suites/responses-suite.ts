import OpenAI, { APIError, BadRequestError, RateLimitError, type ClientOptions } from "openai";
import { describe, expect, it } from "vitest";
import type { MakeFetch } from "../fetch-under-test.ts";
import { openai } from "../openai.ts";
import { drain, Served } from "./served.ts";

const model = "gpt-4.1-mini";
const WEATHER: OpenAI.Responses.FunctionTool = {
  type: "function",
  name: "weather",
  strict: false,
  parameters: { type: "object", properties: { city: { type: "string" } } },
};
const CALL = 'call weather {"city":"Köln"}';

/** `openai`: the Responses API. */
export function responsesSuite(name: string, makeFetch: MakeFetch): void {
  describe(`openai responses, ${name}`, () => {
    const served = new Served(openai, makeFetch);
    const client = (options: ClientOptions = {}) => new OpenAI({ ...served.right, maxRetries: 0, ...options });
    const stream = (input: string) => client().responses.create({ model, input, stream: true });

    it("answers and counts", async () => {
      const done = await client().responses.create({ model, input: "hello you", instructions: "be brief" });
      expect(done).toMatchObject({ status: "completed", output_text: "echo: hello you" });
      expect(done.usage).toMatchObject({ input_tokens: 4, output_tokens: 3, total_tokens: 7 });
    });

    it("streams the events in their order, numbered", async () => {
      const { items, error } = await drain(await stream("hi"));
      expect(error).toBeNull();
      expect(items.map(({ type }) => type)).toEqual([
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
      ]);
      expect(items.map(({ sequence_number }) => sequence_number)).toEqual(items.map((_, i) => i));
      const final = await client().responses.stream({ model, input: "hi" }).finalResponse();
      expect(final.output_text).toBe("echo: hi");
    });

    it("ends incomplete at the limit", async () => {
      const asked = { model, input: "a b c d", max_output_tokens: 2 };
      const { items } = await drain(await client().responses.create({ ...asked, stream: true }));
      expect(items.at(-1)).toMatchObject({
        type: "response.incomplete",
        response: { incomplete_details: { reason: "max_output_tokens" } },
      });
    });

    it("goes on from an answer that was kept", async () => {
      const first = await client().responses.create({ model, input: "one" });
      const second = await client().responses.create({ model, input: "two", previous_response_id: first.id });
      expect(second).toMatchObject({ output_text: "echo: two", usage: { input_tokens: 4 } });
      const lost = client().responses.create({ model, input: "two", previous_response_id: "resp_none" });
      await expect(lost).rejects.toMatchObject({ status: 400, code: "previous_response_not_found" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("calls a tool and takes its result", async () => {
      const first = await client().responses.create({ model, input: CALL, tools: [WEATHER] });
      const [call] = first.output;
      if (call?.type !== "function_call") throw new Error("no tool was called");
      expect(call).toMatchObject({ name: "weather", arguments: '{"city":"Köln"}' });
      const output = { type: "function_call_output" as const, call_id: call.call_id, output: "rain" };
      const input = [{ role: "user" as const, content: CALL }, call, output];
      const second = await client().responses.create({ model, input, tools: [WEATHER] });
      expect(second.output_text).toBe("result: rain");
    });

    it("streams a tool's arguments, which the SDK puts together", async () => {
      const final = await client()
        .responses.stream({ model, input: CALL, tools: [WEATHER] })
        .finalResponse();
      expect(final.output[0]).toMatchObject({ type: "function_call", arguments: '{"city":"Köln"}' });
    });

    it("refuses an unknown model with a BadRequestError", async () => {
      const error = await client()
        .responses.create({ model: "gpt-0", input: "x" })
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(BadRequestError);
      expect(error).toMatchObject({ code: "model_not_found", param: "model" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("says 429 to a request for a stream, too", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 1 });
      await expect(stream("x")).rejects.toBeInstanceOf(RateLimitError);
    });

    it("raises when a stream is cut", async () => {
      served.server.inject({ kind: "cut", after: 5 });
      const { items, error } = await drain(await stream("one two"));
      expect(items).toHaveLength(5);
      expect(error).toBeInstanceOf(Error);
    });

    it("raises the error that comes in a stream", async () => {
      served.server.inject({ kind: "error-frame", after: 5 });
      const { error } = await drain(await stream("one two"));
      expect(error).toBeInstanceOf(APIError);
    });
  });
}
