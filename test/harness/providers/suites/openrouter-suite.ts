import OpenAI, { APIError, AuthenticationError, BadRequestError, RateLimitError } from "openai";
import { describe, expect, it } from "vitest";
import type { MakeFetch, ProviderFetch } from "../fetch-under-test.ts";
import { costOf, openrouter, OPENROUTER_MODEL as model } from "../openrouter.ts";
import { drain, Served } from "./served.ts";

const say = (content: string) => ({ model, messages: [{ role: "user" as const, content }] });

/** OpenRouter through `openai`. */
export function openrouterSuite(name: string, makeFetch: MakeFetch): void {
  describe(`openai at openrouter, ${name}`, () => {
    const served = new Served(openrouter, makeFetch);
    const client = (made: ProviderFetch = served.right) =>
      new OpenAI({ ...made, baseURL: "https://openrouter.ai/api/v1", maxRetries: 0 });

    it("answers with what it cost", async () => {
      const done = await client().chat.completions.create(say("two words"));
      expect(done).toMatchObject({
        choices: [{ message: { content: "echo: two words" } }],
        usage: { cost: costOf(2, 3) },
      });
      expect(served.server.request.path).toBe("/api/v1/chat/completions");
    });

    it("streams among comments, with the cost at the end", async () => {
      const { items, error } = await drain(await client().chat.completions.create({ ...say("hi"), stream: true }));
      expect(error).toBeNull();
      expect(items.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("echo: hi");
      expect(items.at(-1)).toMatchObject({ usage: { cost: costOf(1, 2) } });
    });

    it("has its errors typed", async () => {
      const refused = client(served.wrong).chat.completions.create(say("x"));
      await expect(refused).rejects.toBeInstanceOf(AuthenticationError);
      const lost = client().chat.completions.create({ ...say("x"), model: "nobody/nothing" });
      await expect(lost).rejects.toBeInstanceOf(BadRequestError);
      expect(served.server.takeRefusals()).toEqual(["User not found.", "nobody/nothing is not a valid model ID"]);
      served.server.inject({ kind: "rate-limit", retryAfter: 1 });
      const limited = client().chat.completions.create(say("x"));
      await expect(limited).rejects.toBeInstanceOf(RateLimitError);
    });

    it("raises when a stream is cut, and the error that comes in one", async () => {
      served.server.inject({ kind: "cut", after: 4 }, { kind: "error-frame", after: 4 });
      const cut = await drain(await client().chat.completions.create({ ...say("one two"), stream: true }));
      expect(cut.items).toHaveLength(2);
      expect(cut.error).toBeInstanceOf(Error);
      const failed = await drain(await client().chat.completions.create({ ...say("one two"), stream: true }));
      expect(failed.error).toBeInstanceOf(APIError);
    });
  });
}
