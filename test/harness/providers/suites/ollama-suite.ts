import { Ollama } from "ollama";
import OpenAI, { InternalServerError, NotFoundError } from "openai";
import { describe, expect, it } from "vitest";
import type { MakeFetch } from "../fetch-under-test.ts";
import { unitVector } from "../generation.ts";
import { ollama } from "../ollama.ts";
import { drain, MANY_BYTES, Served } from "./served.ts";

const model = "llama3.2";
const say = (content: string) => ({ model, messages: [{ role: "user" as const, content }] });
const CALL = 'call weather {"city":"Köln"}';
const WEATHER = {
  type: "function" as const,
  function: {
    name: "weather",
    description: "The weather in a city",
    parameters: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
  },
};

/** Ollama: its own routes through `ollama`, those that are OpenAI's through `openai`. */
export function ollamaSuite(name: string, makeFetch: MakeFetch): void {
  describe(`ollama, ${name}`, () => {
    const served = new Served(() => ollama(), makeFetch, false);
    const client = () => new Ollama({ fetch: served.right.fetch });

    it("chats", async () => {
      const done = await client().chat({ ...say("two words"), options: { temperature: 0 } });
      expect(done).toMatchObject({ message: { content: "echo: two words" }, done: true, done_reason: "stop" });
      expect(done).toMatchObject({ prompt_eval_count: 2, eval_count: 3 });
    });

    it("streams lines, whole however the bytes are cut", async () => {
      served.server.inject({ kind: "shreds", bytes: 3 });
      const { items, error } = await drain(await client().chat({ ...say(MANY_BYTES), stream: true }));
      expect(error).toBeNull();
      expect(items.map(({ message }) => message.content).join("")).toBe(`echo: ${MANY_BYTES}`);
      expect(items.at(-1)).toMatchObject({ done: true, eval_count: 7 });
      expect(items.length).toBe(8);
    });

    it("calls a tool and takes its result", async () => {
      const first = await client().chat({ ...say(CALL), tools: [WEATHER] });
      expect(first.message.tool_calls).toEqual([{ function: { name: "weather", arguments: { city: "Köln" } } }]);
      const result = { role: "tool", content: "rain", tool_name: "weather" };
      const messages = [...say(CALL).messages, first.message, result];
      const second = await client().chat({ model, messages, tools: [WEATHER] });
      expect(second.message.content).toBe("result: rain");
    });

    it("completes a prompt, at once and streamed", async () => {
      const asked = { model, prompt: "one two", options: { num_predict: 2 } };
      expect(await client().generate(asked)).toMatchObject({ response: "echo: one", done_reason: "length" });
      const { items } = await drain(await client().generate({ ...asked, stream: true }));
      expect(items.map(({ response }) => response)).toEqual(["echo:", " one", ""]);
    });

    it("embeds", async () => {
      const done = await client().embed({ model: "nomic-embed-text", input: ["tea", "milk"] });
      expect(done.embeddings).toEqual([unitVector("tea", 768), unitVector("milk", 768)]);
    });

    it("lists models and its version", async () => {
      const { models } = await client().list();
      expect(models.map(({ name: one }) => one)).toEqual(["llama3.2:latest", "nomic-embed-text:latest"]);
      expect(await client().version()).toEqual({ version: "0.12.0" });
    });

    it("says that a model is not there", async () => {
      const lost = client().chat({ ...say("x"), model: "nothing" });
      await expect(lost).rejects.toMatchObject({ status_code: 404, message: "model 'nothing' not found" });
      expect(served.server.takeRefusals()).toHaveLength(1);
    });

    it("says that it is busy", async () => {
      served.server.inject({ kind: "status", status: 503 });
      await expect(client().chat(say("x"))).rejects.toMatchObject({ status_code: 503 });
    });

    it("raises when a stream is cut, and the error that comes in one", async () => {
      served.server.inject({ kind: "cut", after: 2 }, { kind: "error-frame", after: 2 });
      const cut = await drain(await client().chat({ ...say("one two"), stream: true }));
      expect(cut.items).toHaveLength(2);
      expect(cut.error).toBeInstanceOf(Error);
      const failed = await drain(await client().chat({ ...say("one two"), stream: true }));
      expect(failed.items).toHaveLength(2);
      expect(String(failed.error)).toContain("unexpected EOF");
    });

    it("aborts a stream in the middle, and the server sees it", async () => {
      served.server.inject({ kind: "slow-frames", ms: 30 });
      const stream = await client().chat({ ...say("many words ".repeat(50)), stream: true });
      for await (const _part of stream) {
        stream.abort();
        break;
      }
      await served.gone();
    });
  });

  describe(`openai at ollama, ${name}`, () => {
    const served = new Served(() => ollama(), makeFetch, false);
    const client = () => new OpenAI({ ...served.right, baseURL: "http://localhost:11434/v1", maxRetries: 0 });

    it("chats, at once and streamed", async () => {
      const done = await client().chat.completions.create(say("hi"));
      expect(done.choices[0]?.message.content).toBe("echo: hi");
      const { items } = await drain(await client().chat.completions.create({ ...say("hi"), stream: true }));
      expect(items.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("echo: hi");
    });

    it("embeds", async () => {
      const done = await client().embeddings.create({ model: "nomic-embed-text", input: "tea" });
      expect(done.data.map(({ embedding }) => Array.from(embedding))).toEqual([unitVector("tea", 768)]);
    });

    it("has its errors typed", async () => {
      const lost = client().chat.completions.create({ ...say("x"), model: "nothing" });
      await expect(lost).rejects.toBeInstanceOf(NotFoundError);
      expect(served.server.takeRefusals()).toEqual(["model 'nothing' not found"]);
      served.server.inject({ kind: "status", status: 500 });
      await expect(client().chat.completions.create(say("x"))).rejects.toBeInstanceOf(InternalServerError);
    });
  });
}
