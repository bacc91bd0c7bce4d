import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  embedMany,
  generateText,
  isStepCount,
  jsonSchema,
  streamText,
  tool,
  type LanguageModel,
} from "ai";
import { describe, expect, it } from "vitest";
import { anthropic } from "../anthropic.ts";
import type { MakeFetch, ProviderFetch } from "../fetch-under-test.ts";
import { unitVector } from "../generation.ts";
import { ollama } from "../ollama.ts";
import { openai } from "../openai.ts";
import { openrouter, OPENROUTER_MODEL } from "../openrouter.ts";
import type { Provider } from "../provider.ts";
import { drain, MANY_BYTES, Served, waits } from "./served.ts";

interface Case {
  readonly label: string;
  readonly provider: (key: string) => Provider;
  readonly keyed: boolean;
  readonly model: (made: ProviderFetch) => LanguageModel;
}

const CASES: readonly Case[] = [
  {
    label: "@ai-sdk/openai (responses)",
    provider: openai,
    keyed: true,
    model: (made) => createOpenAI({ ...made })("gpt-4.1-mini"),
  },
  {
    label: "@ai-sdk/openai (chat)",
    provider: openai,
    keyed: true,
    model: (made) => createOpenAI({ ...made }).chat("gpt-4.1-mini"),
  },
  {
    label: "@ai-sdk/anthropic",
    provider: anthropic,
    keyed: true,
    model: (made) => createAnthropic({ ...made })("claude-haiku-4-5"),
  },
  {
    label: "@ai-sdk/openai-compatible at ollama",
    provider: () => ollama(),
    keyed: false,
    model: ({ fetch }) =>
      createOpenAICompatible({ name: "ollama", baseURL: "http://localhost:11434/v1", fetch })("llama3.2"),
  },
  {
    label: "@ai-sdk/openai-compatible at openrouter",
    provider: openrouter,
    keyed: true,
    model: (made) =>
      createOpenAICompatible({ name: "openrouter", baseURL: "https://openrouter.ai/api/v1", ...made })(
        OPENROUTER_MODEL,
      ),
  },
];

const weather = tool({
  description: "The weather in a city",
  inputSchema: jsonSchema<{ city: string }>({
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  }),
  execute: ({ city }) => `rain in ${city}`,
});

/** Vercel's `ai` over each of its providers. */
export function aiSuite(name: string, makeFetch: MakeFetch): void {
  describe.each(CASES)(`ai with $label, ${name}`, ({ provider, keyed, model }) => {
    const served = new Served(provider, makeFetch, keyed);
    const ask = (prompt: string, maxRetries = 0) => generateText({ model: model(served.right), prompt, maxRetries });
    const stream = (prompt: string, abortSignal?: AbortSignal) =>
      streamText({
        model: model(served.right),
        prompt,
        maxRetries: 0,
        // What it raises is in the stream; without this it is printed, too.
        onError: () => {},
        ...(abortSignal === undefined ? {} : { abortSignal }),
      });

    it("answers and counts", async () => {
      const done = await ask("two words");
      expect(done).toMatchObject({ text: "echo: two words", finishReason: "stop" });
      expect(done.usage).toMatchObject({ inputTokens: 2, outputTokens: 3 });
    });

    it("streams, whole however the bytes are cut", async () => {
      served.server.inject({ kind: "shreds", bytes: 3 });
      const { items } = await drain(stream(MANY_BYTES).textStream);
      expect(items.join("")).toBe(`echo: ${MANY_BYTES}`);
      expect(items.length).toBeGreaterThan(1);
    });

    it("runs a tool and goes on with its result", async () => {
      const prompt = 'call weather {"city":"Köln"}';
      const asked = { model: model(served.right), prompt, tools: { weather }, stopWhen: isStepCount(3), maxRetries: 0 };
      expect((await generateText(asked)).text).toBe("result: rain in Köln");
      const { items } = await drain(streamText(asked).textStream);
      expect(items.join("")).toBe("result: rain in Köln");
      expect(served.server.requests).toHaveLength(4);
    });

    it.runIf(keyed)("refuses a wrong key", async () => {
      const refused = generateText({ model: model(served.wrong), prompt: "x", maxRetries: 0 });
      const error = await refused.catch((e: unknown) => e);
      expect(APICallError.isInstance(error)).toBe(true);
      expect(error).toMatchObject({ statusCode: 401, isRetryable: false });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("says 429, which can be tried again", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 7 });
      const error = await ask("x").catch((e: unknown) => e);
      expect(error).toMatchObject({ statusCode: 429, isRetryable: true, responseHeaders: { "retry-after": "7" } });
    });

    it("has an error for a stream that is cut", async () => {
      served.server.inject({ kind: "cut", after: 5 });
      const { items, error } = await drain(stream("one two three four").stream);
      expect([...items.filter(({ type }) => type === "error"), ...(error === null ? [] : [error])]).toHaveLength(1);
      expect(items.some((part) => part.type === "finish" && part.finishReason === "stop")).toBe(false);
    });

    it("has an error for the one that comes in a stream", async () => {
      served.server.inject({ kind: "error-frame", after: 5 });
      const { items, error } = await drain(stream("one two three four").stream);
      expect(items.some(({ type }) => type === "error") || error !== null).toBe(true);
    });

    it("aborts a stream in the middle, and the server sees it", async () => {
      served.server.inject({ kind: "slow-frames", ms: 30 });
      const abort = new AbortController();
      for await (const part of stream("many words ".repeat(50), abort.signal).stream) {
        if (part.type === "text-delta") abort.abort();
      }
      await served.gone();
    });
  });

  describe(`ai, ${name}`, () => {
    const served = new Served(openai, makeFetch);

    it("tries again after the time that a 429 names", async () => {
      served.server.inject({ kind: "rate-limit", retryAfter: 1 });
      const model = createOpenAI({ ...served.right })("gpt-4.1-mini");
      const done = await waits(1_000, () => generateText({ model, prompt: "again", maxRetries: 1 }));
      expect(done.text).toBe("echo: again");
      expect(served.server.requests).toHaveLength(2);
    });

    it("embeds", async () => {
      const model = createOpenAI({ ...served.right }).embedding("text-embedding-3-small");
      const { embeddings } = await embedMany({ model, values: ["tea", "milk"], maxRetries: 0 });
      expect(embeddings).toEqual([unitVector("tea", 1536), unitVector("milk", 1536)]);
    });
  });
}
