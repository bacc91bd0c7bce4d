import { describe, expect, test } from "vitest";
import type { UsageForm } from "../../src/providers/endpoints.ts";
import { tokensOf } from "../../src/providers/usage.ts";

const JSON_TYPE = "application/json; charset=utf-8";
const SSE = "text/event-stream; charset=utf-8";

function tokens(form: UsageForm, type: string, body: unknown) {
  return tokensOf(form, type, Buffer.from(typeof body === "string" ? body : JSON.stringify(body)));
}

function events(...data: object[]): string {
  return data.map((one) => `event: e\r\ndata: ${JSON.stringify(one)}\r\n\r\n`).join("");
}

describe("tokens are read from", () => {
  test.each<[string, UsageForm, string, unknown, object | null]>([
    ["a chat", "openai", JSON_TYPE, { usage: { prompt_tokens: 3, completion_tokens: 2 } }, { input: 3, output: 2 }],
    ["embeddings", "openai", JSON_TYPE, { usage: { prompt_tokens: 3, total_tokens: 3 } }, { input: 3, output: 0 }],
    ["a response", "responses", JSON_TYPE, { usage: { input_tokens: 3, output_tokens: 2 } }, { input: 3, output: 2 }],
    [
      "a message, with what was cached",
      "anthropic",
      JSON_TYPE,
      { usage: { input_tokens: 3, cache_creation_input_tokens: 10, cache_read_input_tokens: 100, output_tokens: 2 } },
      { input: 113, output: 2 },
    ],
    ["Ollama's own", "ollama", JSON_TYPE, { prompt_eval_count: 3, eval_count: 2 }, { input: 3, output: 2 }],
    [
      "a streamed chat",
      "openai",
      SSE,
      `${events({ choices: [], usage: null }, { usage: { prompt_tokens: 3, completion_tokens: 2 } })}data: [DONE]\n\n`,
      { input: 3, output: 2 },
    ],
    [
      "a streamed response",
      "responses",
      SSE,
      events(
        { type: "response.created", response: { usage: null } },
        { response: { usage: { input_tokens: 3, output_tokens: 2 } } },
      ),
      { input: 3, output: 2 },
    ],
    [
      "a streamed message, whose output is counted up",
      "anthropic",
      SSE,
      events({ message: { usage: { input_tokens: 3, output_tokens: 1 } } }, { usage: { output_tokens: 7 } }),
      { input: 3, output: 7 },
    ],
    [
      "Ollama's stream",
      "ollama",
      "application/x-ndjson",
      '{"message":{"content":"a"}}\n{"done":true,"prompt_eval_count":3,"eval_count":2}\n',
      { input: 3, output: 2 },
    ],
    [
      "the end of a body that is too long to be parsed",
      "openai",
      JSON_TYPE,
      `{"data":[${"0.1,".repeat(300_000)}0],"usage": {"prompt_tokens": 9, "total_tokens": 9}}`,
      { input: 9, output: 0 },
    ],
    ["what says nothing", "openai", JSON_TYPE, { choices: [] }, null],
    ["what is no JSON", "openai", JSON_TYPE, "<html>usage</html>", null],
    ["numbers that are none", "openai", JSON_TYPE, { usage: { prompt_tokens: "3", completion_tokens: -1 } }, null],
    ["an event cut off", "openai", SSE, 'data: {"usage":{"prompt_tok', null],
    ["what has no count", "none", JSON_TYPE, { usage: { prompt_tokens: 3 } }, null],
    ["nothing", "openai", JSON_TYPE, "", null],
  ])("%s", (_what, form, type, body, expected) => expect(tokens(form, type, body)).toEqual(expected));
});
