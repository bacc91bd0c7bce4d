import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { anthropic } from "../harness/providers/anthropic.ts";
import { generate, tokens, unitVector, type Answer } from "../harness/providers/generation.ts";
import { ModelServer } from "../harness/providers/model-server.ts";
import { ollama } from "../harness/providers/ollama.ts";
import { openai } from "../harness/providers/openai.ts";
import { openrouter } from "../harness/providers/openrouter.ts";
import type { Provider } from "../harness/providers/provider.ts";

const BEARER = { authorization: "Bearer right" };
const HEADERS: Readonly<Record<string, Record<string, string>>> = {
  openai: BEARER,
  openrouter: BEARER,
  anthropic: { "x-api-key": "right", "anthropic-version": "2023-06-01" },
  ollama: {},
};

/** The server of one `describe`, and requests to it that bring what they should unless told otherwise. */
function serve(provider: Provider) {
  let server: ModelServer;
  beforeAll(async () => (server = await ModelServer.start(provider)));
  afterEach(() => server.settle());
  afterAll(() => server.close());
  const fetchIt = (path: string, init: RequestInit) =>
    fetch(`${server.origin}${path}`, { redirect: "manual", ...init });
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetchIt(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...HEADERS[provider.name], ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  const refused = async (reply: Promise<Response>) => {
    const response = await reply;
    expect(server.takeRefusals()).toHaveLength(1);
    return { status: response.status, body: await response.text() };
  };
  return { post, refused, fetchIt, server: () => server };
}

const hi = [{ role: "user", content: "hi" }];

describe("the openai server", () => {
  const { post, refused, fetchIt, server } = serve(openai("right"));
  const CHAT = "/v1/chat/completions";
  const body = { model: "gpt-4.1-mini", messages: hi };
  const error = (message: string, param: string | null, code: string | null) =>
    JSON.stringify({ error: { message, type: "invalid_request_error", param, code } });

  it("refuses a request without a key, and other words for it", async () => {
    const bare = fetchIt(CHAT, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    expect(await refused(bare)).toMatchObject({ status: 401 });
    for (const authorization of ["right", "Bearer  right", "Bearer right ish", "Basic right"]) {
      expect(await refused(post(CHAT, body, { authorization }))).toMatchObject({ status: 401 });
    }
    expect(await refused(fetchIt("/v1/models", {}))).toMatchObject({ status: 401 });
  });

  it.each([
    ["not JSON", "{", /We could not parse the JSON body/],
    [
      "no messages",
      { model: "gpt-4.1-mini" },
      error("Missing required parameter: 'messages'.", "messages", "missing_required_parameter"),
    ],
    ["a field of its own", { ...body, foo: 1 }, error("Unknown parameter: 'foo'.", "foo", "unknown_parameter")],
    [
      "a field of its own, deep",
      { ...body, messages: [{ ...hi[0], foo: 1 }] },
      error("Unknown parameter: 'messages[0].foo'.", "messages[0].foo", "unknown_parameter"),
    ],
    [
      "a wrong type",
      { ...body, messages: "hi" },
      error("Invalid type for 'messages': expected an array, but got a string instead.", "messages", "invalid_type"),
    ],
    ["a role that is none", { ...body, messages: [{ role: "robot", content: "hi" }] }, /messages\[0\]\.role/],
    ["more than it does", { ...body, n: 2 }, /Invalid value for 'n'/],
    [
      "stream_options without stream",
      { ...body, stream_options: { include_usage: true } },
      /only allowed when 'stream'/,
    ],
    [
      "a tool's message without a call",
      { ...body, messages: [{ role: "tool", tool_call_id: "c", content: "x" }] },
      /messages with role 'tool' must be a response/,
    ],
    [
      "a call without its tool's message",
      {
        ...body,
        messages: [
          { role: "assistant", tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }] },
          ...hi,
        ],
      },
      /did not have response messages: c/,
    ],
  ])("refuses %s", async (_what, sent, words) => {
    const { status, body: text } = await refused(post(CHAT, sent));
    expect(status).toBe(400);
    if (typeof words === "string") expect(text).toBe(words);
    else expect(text).toMatch(words);
  });

  it("refuses other paths, methods and content types", async () => {
    expect(await refused(post("/v1/completions", {}))).toMatchObject({ status: 404 });
    expect(await refused(post("/chat/completions", body))).toMatchObject({ status: 404 });
    expect(await refused(fetchIt(CHAT, { headers: BEARER }))).toMatchObject({ status: 405 });
    expect(await refused(post(CHAT, body, { "content-type": "text/plain" }))).toMatchObject({ status: 400 });
  });

  it("takes a charset", async () => {
    expect((await post(CHAT, body, { "content-type": "application/json; charset=utf-8" })).status).toBe(200);
  });

  it("gives the same bytes to the same request", async () => {
    const streamed = { ...body, stream: true };
    const twice = [await post(CHAT, streamed), await post(CHAT, streamed)];
    const [one, two] = [await twice[0]?.text(), await twice[1]?.text()];
    expect(one).toBe(two);
    expect(one).toMatch(/^data: \{"id":"chatcmpl-[^\n]+\n\n/);
    expect(one).toMatch(/\n\ndata: \[DONE\]\n\n$/);
  });

  it("refuses items, calls and embeddings that don't fit", async () => {
    const model = "gpt-4.1-mini";
    const lost = { model, input: [{ type: "item_reference", id: "msg_none" }] };
    expect(await refused(post("/v1/responses", lost))).toMatchObject({ status: 404 });
    const output = { model, input: [{ type: "function_call_output", call_id: "c", output: "x" }] };
    expect(await refused(post("/v1/responses", output))).toMatchObject({ status: 400 });
    const call = { model, input: [{ type: "function_call", call_id: "c", name: "f", arguments: "{}" }] };
    expect(await refused(post("/v1/responses", call))).toMatchObject({ status: 400 });
    const large = { model: "text-embedding-3-small", input: "tea", dimensions: 1537 };
    expect(await refused(post("/v1/embeddings", large))).toMatchObject({ status: 400 });
    expect(await refused(post("/v1/embeddings", { ...large, input: "" }))).toMatchObject({ status: 400 });
  });

  it("redirects, once", async () => {
    server().inject({ kind: "redirect", to: "http://127.0.0.1:1/elsewhere" });
    const reply = await post(CHAT, body);
    expect([reply.status, reply.headers.get("location")]).toEqual([307, "http://127.0.0.1:1/elsewhere"]);
    expect((await post(CHAT, body)).status).toBe(200);
  });

  it("keeps faults for requests that are in order, and takes them in turn", async () => {
    server().inject({ kind: "rate-limit", retryAfter: 3 }, { kind: "status", status: 503 });
    expect(await refused(post(CHAT, {}))).toMatchObject({ status: 400 });
    const limited = await post(CHAT, body);
    expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "3"]);
    expect((await post(CHAT, body)).status).toBe(503);
    expect((await post(CHAT, body)).status).toBe(200);
  });

  it("records what arrived", async () => {
    await post(CHAT, body, { "x-trace": "7" });
    expect(server().request).toMatchObject({ method: "POST", path: CHAT, query: "", aborted: false });
    expect(server().request.headers["x-trace"]).toBe("7");
    expect(JSON.parse(server().request.body)).toEqual(body);
  });
});

describe("the anthropic server", () => {
  const { post, refused } = serve(anthropic("right"));
  const body = { model: "claude-haiku-4-5", max_tokens: 10, messages: hi };
  const error = (message: string) => `"error":{"type":"invalid_request_error","message":${JSON.stringify(message)}}`;
  const use = { type: "tool_use", id: "t", name: "f", input: {} };
  const result = { type: "tool_result", tool_use_id: "t", content: "x" };

  it("wants the key and a version; of two keys both have to be right", async () => {
    expect(await refused(post("/v1/messages", body, { "x-api-key": "wrong" }))).toMatchObject({ status: 401 });
    const left = refused(post("/v1/messages", body, { authorization: "Bearer placeholder" }));
    expect(await left).toMatchObject({ status: 401 });
    expect((await post("/v1/messages", body, BEARER)).status).toBe(200);
    const old = await refused(post("/v1/messages", body, { "anthropic-version": "2020-01-01" }));
    expect(old.body).toContain('anthropic-version: \\"2020-01-01\\" is not a valid version');
  });

  it.each([
    ["no max_tokens", { ...body, max_tokens: undefined }, "max_tokens: Field required"],
    ["a field of its own", { ...body, foo: 1 }, "foo: Extra inputs are not permitted"],
    ["a wrong type", { ...body, messages: "hi" }, "messages: Input should be a valid list"],
    [
      "an answer first",
      { ...body, messages: [{ role: "assistant", content: "hi" }] },
      'messages: first message must use the "user" role',
    ],
  ])("refuses %s", async (_what, sent, message) => {
    const { status, body: text } = await refused(post("/v1/messages", sent));
    expect([status, text]).toEqual([400, expect.stringContaining(error(message))]);
  });

  it("takes sampling settings from those who say the version that had them", async () => {
    const sent = { ...body, temperature: 0.5 };
    expect((await post("/v1/messages", sent)).status).toBe(200);
    const { body: text } = await refused(post("/v1/messages", sent, { "anthropic-version": "2026-10-21" }));
    expect(text).toContain(error("temperature: Extra inputs are not permitted"));
  });

  it("refuses a result without its use, and a use without its result", async () => {
    const asking = { role: "assistant", content: [use] };
    const alone = { ...body, messages: [{ role: "user", content: [result] }] };
    expect((await refused(post("/v1/messages", alone))).body).toContain("unexpected `tool_use_id` found");
    const open = { ...body, messages: [...hi, asking, ...hi] };
    expect((await refused(post("/v1/messages", open))).body).toContain("ids were found without `tool_result` blocks");
    const closed = { ...body, messages: [...hi, asking, { role: "user", content: [result] }] };
    expect((await post("/v1/messages", closed)).status).toBe(200);
  });

  it("sends a ping", async () => {
    const text = await (await post("/v1/messages", { ...body, stream: true })).text();
    expect(text).toContain('event: ping\ndata: {"type":"ping"}\n\n');
  });
});

describe("the ollama server", () => {
  const { post, refused, fetchIt } = serve(ollama());

  it("says its errors in two forms", async () => {
    const native = await refused(post("/api/chat", { model: "none", messages: hi }));
    expect(native).toEqual({ status: 404, body: '{"error":"model \'none\' not found"}' });
    const compatible = await refused(post("/v1/chat/completions", { model: "none", messages: hi }));
    expect(JSON.parse(compatible.body)).toMatchObject({ error: { type: "not_found_error", code: null } });
    expect(await refused(post("/api/none", {}))).toEqual({ status: 404, body: "404 page not found" });
    expect(await refused(fetchIt("/api/chat", {}))).toMatchObject({ status: 405 });
    expect(await refused(post("/api/chat", ""))).toEqual({ status: 400, body: '{"error":"missing request body"}' });
  });

  it("refuses fields that it doesn't know", async () => {
    const sent = { model: "llama3.2", messages: hi, options: { temprature: 1 } };
    expect((await refused(post("/api/chat", sent))).body).toContain("options.temprature");
  });

  it("streams unless told not to, and loads a model that is asked nothing", async () => {
    const streamed = await post("/api/generate", { model: "llama3.2:latest", prompt: "hi" });
    expect(streamed.headers.get("content-type")).toBe("application/x-ndjson");
    const lines = (await streamed.text()).trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { done: boolean }).done)).toEqual([false, false, true]);
    const loaded = await post("/api/chat", { model: "llama3.2" });
    expect(await loaded.json()).toMatchObject({ done: true, done_reason: "load" });
  });
});

describe("the openrouter server", () => {
  const { post, refused } = serve(openrouter("right"));
  const body = { model: "openai/gpt-4.1-mini", messages: hi };

  it("has errors whose code is the status", async () => {
    const wrong = await refused(post("/api/v1/chat/completions", body, { authorization: "Bearer wrong" }));
    expect(JSON.parse(wrong.body)).toEqual({ error: { message: "User not found.", code: 401 } });
    expect(await refused(post("/v1/chat/completions", body))).toMatchObject({ status: 404 });
    expect(await refused(post("/api/v1/chat/completions", { ...body, foo: 1 }))).toMatchObject({ status: 400 });
  });

  it("takes fields that OpenAI hasn't, and begins its streams with comments", async () => {
    const sent = { ...body, stream: true, provider: { order: ["OpenAI"] }, usage: { include: true } };
    const text = await (await post("/api/v1/chat/completions", sent)).text();
    expect(text.startsWith(": OPENROUTER PROCESSING\n\n")).toBe(true);
    expect(text).toContain('"cost":');
  });
});

describe("what settles", () => {
  it("is nothing that went by unnoticed", async () => {
    const server = await ModelServer.start(openai("right", () => [{ name: "none", input: {} }]));
    try {
      await fetch(`${server.origin}/nothing`);
      expect(() => server.settle()).toThrow("refused by the openai server: Invalid URL (GET /nothing)");
      server.inject({ kind: "malformed" });
      expect(() => server.settle()).toThrow("faults that no request took");
      const headers = { ...BEARER, "content-type": "application/json" };
      const body = JSON.stringify({ model: "gpt-4.1-mini", messages: hi });
      await expect(fetch(`${server.origin}/v1/chat/completions`, { method: "POST", headers, body })).rejects.toThrow();
      expect(() => server.settle()).toThrow("the openai server failed");
      server.settle();
    } finally {
      await server.close();
    }
  });
});

describe("the model", () => {
  it("counts a word and the space before it as a token", () => {
    expect(tokens(" a  b\n")).toEqual([" a", "  b", "\n"]);
    expect(tokens("")).toEqual([]);
  });

  it("is what the test says it is", () => {
    const asked = {
      model: "m",
      turns: [{ role: "user" as const, text: "x y" }],
      tools: [],
      toolRequired: false,
      limit: 1,
    };
    const answer: Answer = ({ turns }) => `${turns.length} turn`;
    expect(generate(answer, asked)).toEqual({
      pieces: ["1"],
      calls: [],
      promptTokens: 2,
      completionTokens: 1,
      cut: true,
    });
  });

  it("makes unit vectors, exact in 32 bits, each text its own", () => {
    const vector = unitVector("tea", 1536);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 6);
    expect(vector).toEqual(Array.from(new Float32Array(vector)));
    expect(unitVector("tea", 1536)).toEqual(vector);
    expect(unitVector("tee", 1536)).not.toEqual(vector);
  });
});
