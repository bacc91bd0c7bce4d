import { describe, expect, test } from "vitest";
import { type Method, type ServiceName, targetOf } from "../../src/providers/endpoints.ts";
import { type ProviderConfig, type ProviderProtocol, providersOf } from "../../src/registry/provider-config.ts";
import { errorOf } from "../registry/folders.ts";

const TABLE = providersOf({ groq: { url: "https://api.groq.com/openai/v1" }, local: { url: "http://127.0.0.1:8000" } });

function target(name: string, ask: string, service: ServiceName = "infer", protocol: ProviderProtocol | null = null) {
  const [method, path] = ask.split(" ") as [Method, string];
  return targetOf({ service, method, path }, TABLE[name] as ProviderConfig, protocol);
}

describe("a call goes where the SDK of the protocol would have gone", () => {
  test.each<[string, string, ServiceName, string]>([
    ["openai", "POST /v1/chat/completions", "infer", "https://api.openai.com/v1/chat/completions"],
    ["openai", "POST /chat/completions", "infer", "https://api.openai.com/v1/chat/completions"],
    ["openai", "POST /v1/responses", "infer", "https://api.openai.com/v1/responses"],
    ["openai", "POST /v1/embeddings", "embed", "https://api.openai.com/v1/embeddings"],
    ["openai", "GET /v1/models", "embed", "https://api.openai.com/v1/models"],
    ["openrouter", "POST /v1/chat/completions", "infer", "https://openrouter.ai/api/v1/chat/completions"],
    ["openrouter", "GET /v1/models/openai/gpt-4o", "infer", "https://openrouter.ai/api/v1/models/openai%2Fgpt-4o"],
    ["groq", "POST /v1/chat/completions", "infer", "https://api.groq.com/openai/v1/chat/completions"],
    ["local", "POST /v1/chat/completions", "infer", "http://127.0.0.1:8000/v1/chat/completions"],
    ["anthropic", "POST /v1/messages", "infer", "https://api.anthropic.com/v1/messages"],
    ["anthropic", "POST /v1/messages?beta=true", "infer", "https://api.anthropic.com/v1/messages?beta=true"],
    ["anthropic", "POST /v1/messages/count_tokens", "infer", "https://api.anthropic.com/v1/messages/count_tokens"],
    [
      "anthropic",
      "GET /v1/models?limit=2&after_id=a",
      "infer",
      "https://api.anthropic.com/v1/models?limit=2&after_id=a",
    ],
    ["ollama", "POST /api/chat", "infer", "http://127.0.0.1:11434/api/chat"],
    ["ollama", "POST /api/embed", "embed", "http://127.0.0.1:11434/api/embed"],
    ["ollama", "POST /v1/chat/completions", "infer", "http://127.0.0.1:11434/v1/chat/completions"],
    ["ollama", "POST /v1/messages", "infer", "http://127.0.0.1:11434/v1/messages"],
  ])("%s: %s of %s", (name, ask, service, url) => expect(target(name, ask, service).url).toBe(url));

  test("what the model's name has in it is part of no other path", () => {
    expect(target("openai", "GET /v1/models/a%3Fb%23c").url).toBe("https://api.openai.com/v1/models/a%3Fb%23c");
    expect(target("openai", "GET /v1/models/a%3Fb%23c").model).toBe("a?b#c");
  });
});

describe("there is no way to anything else", () => {
  test.each<[string, string, ServiceName]>([
    ["openai", "GET /v1/files", "infer"],
    ["openai", "POST /v1/files", "infer"],
    ["openai", "GET /v1/organization/costs", "infer"],
    ["openai", "POST /v1/images/generations", "infer"],
    ["openai", "GET /v1/chat/completions", "infer"],
    ["openai", "POST /v1/models", "infer"],
    ["openai", "GET /v1/models/", "infer"],
    ["openai", "GET /v1/responses/resp_1", "infer"],
    ["openai", "POST /v1/chat/completions/", "infer"],
    ["openai", "POST /x/v1/chat/completions", "infer"],
    ["openai", "POST /V1/chat/completions", "infer"],
    ["openai", "POST /v1/messages", "infer"],
    ["openai", "POST /v1/embeddings", "infer"],
    ["openai", "POST /v1/chat/completions", "embed"],
    ["anthropic", "POST /v1/chat/completions", "infer"],
    ["anthropic", "POST /v1/messages/batches", "infer"],
    ["ollama", "POST /api/pull", "infer"],
    ["ollama", "POST /api/delete", "infer"],
    ["ollama", "POST /api/create", "infer"],
  ])("%s: %s as %s", async (name, ask, service) => {
    const error = await errorOf(() => target(name, ask, service));
    expect(error.code).toBe("invalid");
    expect(error.details["allowed"]).toEqual(expect.arrayContaining([expect.any(String)]));
  });

  test.each(["limit=1&limit=2", "key=x", "beta=true&x=1"])("not through the query either: %s", async (query) => {
    const error = await errorOf(() => target("anthropic", `GET /v1/models?${query}`));
    expect(error.code).toBe("invalid");
  });

  test("and of a provider that speaks several protocols, only the one that is declared", async () => {
    expect(target("ollama", "POST /v1/chat/completions", "infer", "openai").protocol).toBe("openai");
    expect((await errorOf(() => target("ollama", "POST /api/chat", "infer", "openai"))).code).toBe("invalid");
  });
});
