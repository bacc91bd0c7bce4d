import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, type Vlinder } from "@vlinder/agent-runtime";
import { type CommitEvent, decodeBody, type Hash, LIMITS, PART_HEADER, parseAgentName } from "@vlinder/protocol";
import type { NatsConnection } from "nats";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { HttpProvider, json } from "./harness/http-provider.ts";
import { until } from "./harness/processes.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const KEY = "key-that-nobody-may-see-0123456789";
const MODEL = "example/model-1";
const DECLARES = `object_storage = "default"
[requirements.services.infer]
provider = "local"
models = ["${MODEL}", "second"]
[requirements.services.embed]
provider = "local"
models = ["embedder"]
`;
const COMPLETION = {
  id: "c-1",
  object: "chat.completion",
  choices: [{ index: 0, message: { role: "assistant", content: "Grüße" }, finish_reason: "stop" }],
  usage: { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 },
};
const CHAT = "http://vlinder/v1/chat/completions";
const agent = parseAgentName("caller");

let provider: HttpProvider;
let daemon: TestDaemon;
let vlinder: Vlinder;
let wire: NatsConnection;

beforeAll(async () => {
  provider = await HttpProvider.start();
  daemon = await stage.newDaemon(
    `[providers.local]\nurl = "${provider.url}/v1"\nkey_env = "LOCAL_KEY"\n[providers.down]\nurl = "http://127.0.0.1:9"\n` +
      `[providers.claude]\nurl = "${provider.url}"\nprotocol = "anthropic"\nkey_env = "LOCAL_KEY"\n[log]\nlevel = "trace"`,
  );
  daemon.environment["LOCAL_KEY"] = KEY;
  // Whatever this machine has of it.
  daemon.environment["OPENAI_API_KEY"] = "";
  await daemon.start();
  await stage.register(daemon, "caller", DECLARES);
  vlinder = await stage.sdk(daemon, "caller");
  wire = await stage.wire(daemon, "caller");
}, 60_000);
afterAll(() => provider.stop());
beforeEach(() => {
  provider.answering = json(COMPLETION);
  provider.seen.length = 0;
});

function chat(fields: object = {}, init: RequestInit = {}): Promise<Response> {
  const body = JSON.stringify({ model: MODEL, messages: [{ role: "user", content: "Hi" }], ...fields });
  return vlinder.fetch(CHAT, { method: "POST", body, ...init });
}

/** The newest commit of main, when it is another one than before. */
async function newest(): Promise<{ hash: Hash; event: CommitEvent }> {
  const { items } = await vlinder.client.request(agent, "timeline.log", { limit: 1 });
  return items[0] as { hash: Hash; event: CommitEvent };
}

async function refusal(response: Response): Promise<{ status: number; code: string; message: string }> {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return { status: response.status, ...error };
}

describe("a call through fetch", () => {
  test("reaches the provider with the key and without what is the agent's own, and is recorded", async () => {
    const headers = new Headers({
      authorization: "Bearer placeholder",
      "x-api-key": "placeholder",
      cookie: "a=b",
      "openai-organization": "org-of-somebody",
      "x-stainless-lang": "js",
      "user-agent": "OpenAI/JS 1.0",
    });
    const response = await chat({}, { headers });
    expect(response).toBeInstanceOf(Response);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(await response.json()).toEqual(COMPLETION);

    expect(provider.last).toMatchObject({ method: "POST", url: "/v1/chat/completions" });
    const { headers: sent, body } = provider.last;
    expect(sent).toMatchObject({
      authorization: `Bearer ${KEY}`,
      "x-stainless-lang": "js",
      "user-agent": "OpenAI/JS 1.0",
    });
    expect(sent.host).toBe(new URL(provider.url).host);
    for (const name of ["x-api-key", "cookie", "openai-organization"]) expect(sent[name]).toBeUndefined();

    const { event } = await newest();
    const answer = JSON.stringify(COMPLETION);
    expect(event).toMatchObject({
      kind: "call",
      info: {
        service: "infer",
        provider: "local",
        model: MODEL,
        method: "POST",
        path: "/v1/chat/completions",
        status: 200,
        tokens: { input: 11, output: 3 },
        complete: true,
      },
      values: {
        request: [expect.any(String), Buffer.byteLength(body)],
        response: [expect.any(String), Buffer.byteLength(answer)],
      },
    });
    expect(JSON.stringify(event)).not.toContain(KEY);
  });

  test.each([
    ["a URL object and an array of headers", () => vlinder.fetch(new URL(CHAT), init([["x-title", "t"]]))],
    [
      "an object of headers",
      () => vlinder.fetch("https://api.openai.com/v1/chat/completions", init({ "x-title": "t" })),
    ],
    [
      "a Request",
      () => vlinder.fetch(new Request("https://openrouter.ai/api/v1/chat/completions", init({ "x-title": "t" }))),
    ],
    ["a base URL without a version", () => vlinder.fetch("http://x/chat/completions", init({ "x-title": "t" }))],
  ])("takes %s", async (_what, call) => {
    expect(await (await call()).json()).toEqual(COMPLETION);
    expect(provider.last.headers["x-title"]).toBe("t");
    expect(provider.last.url).toBe("/v1/chat/completions");
  });

  function init(headers: NonNullable<RequestInit["headers"]>): RequestInit {
    return { method: "POST", headers, body: JSON.stringify({ model: MODEL }) };
  }

  test("embeddings are of the other service", async () => {
    const document = { data: [], usage: { prompt_tokens: 5, total_tokens: 5 } };
    provider.answering = json(document);
    const body = JSON.stringify({ model: "embedder", input: ["a"] });
    const response = await vlinder.fetch("http://vlinder/v1/embeddings", { method: "POST", body });
    expect(await response.json()).toEqual(document);
    expect((await newest()).event.info).toMatchObject({
      service: "embed",
      model: "embedder",
      tokens: { input: 5, output: 0 },
    });
  });

  test("what the provider says of errors passes through as it is", async () => {
    provider.answering = json({ error: { message: "slow down" } }, 429, { "retry-after": "7", "set-cookie": "a=b" });
    const response = await chat();
    expect([response.status, response.headers.get("retry-after")]).toEqual([429, "7"]);
    expect(response.headers.get("set-cookie")).toBeNull();
    expect(await response.json()).toEqual({ error: { message: "slow down" } });
    expect((await newest()).event.info).toMatchObject({ status: 429, complete: true });
  });

  test("a key that the provider sends back is taken out, also where it is cut", async () => {
    provider.answering = async (response, { headers }) => {
      response.writeHead(200, { "x-debug": String(headers.authorization), "content-type": "text/plain" });
      const text = `you sent ${String(headers.authorization)}!`;
      response.write(text.slice(0, 25));
      await sleep(50);
      response.end(text.slice(25));
    };
    const response = await chat();
    expect(await response.text()).toBe("you sent Bearer [secret]!");
    expect(response.headers.get("x-debug")).toBeNull();
  });
});

describe("streams", () => {
  test("events arrive while the provider is still writing, and are recorded whole", async () => {
    let go = (): void => {};
    const first = 'data: {"choices":[{"delta":{"content":"Grü"}}]}\n\n';
    const rest = 'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}\n\ndata: [DONE]\n\n';
    provider.answering = async (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(first);
      await new Promise<void>((resolve) => (go = resolve));
      response.end(rest);
    };
    const response = await chat({ stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString("utf8")).toBe(first);
    go();
    let text = "";
    for (let next = await reader.read(); next.done !== true; next = await reader.read())
      text += Buffer.from(next.value).toString("utf8");
    expect(text).toBe(rest);
    expect((await newest()).event).toMatchObject({
      info: { tokens: { input: 8, output: 2 }, complete: true },
      values: { response: [expect.any(String), Buffer.byteLength(first + rest)] },
    });
  });

  test("a reader that does not read holds the provider up, and gets all of it in the end", async () => {
    const chunk = Buffer.alloc(256 * 1024, "x");
    const chunks = 40;
    let written = 0;
    provider.answering = async (response) => {
      response.writeHead(200, { "content-type": "application/octet-stream" });
      for (; written < chunks; written++) {
        if (!response.write(chunk)) await new Promise<void>((resolve) => response.once("drain", resolve));
      }
      response.end();
    };
    const response = await chat();
    await sleep(1_000);
    // The window, and what sockets hold; all of it would be ten megabytes.
    expect(written * chunk.length).toBeLessThan(LIMITS.callWindow + 6 * 1024 * 1024);
    expect(written).toBeLessThan(chunks);
    expect((await response.arrayBuffer()).byteLength).toBe(chunks * chunk.length);
    expect((await newest()).event.values?.["response"]?.[1]).toBe(chunks * chunk.length);
  });

  test("one that breaks off is an error for who reads it, and is recorded as incomplete", async () => {
    provider.answering = async (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: begun\n\n");
      await sleep(100);
      response.destroy();
    };
    const response = await chat({ stream: true });
    await expect(response.text()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("broke off after 13 bytes") as string,
    });
    expect((await newest()).event).toMatchObject({
      info: { complete: false, status: 200 },
      values: { response: [expect.any(String), 13] },
    });
  });

  test.each([
    ["before the answer", false],
    ["in the middle of it", true],
  ])("a caller that aborts %s ends the call at the provider", async (_when, begun) => {
    const before = provider.abandoned;
    provider.answering = async (response) => {
      if (begun) {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("data: begun\n\n");
      }
      await new Promise(() => {});
    };
    const controller = new AbortController();
    const reason = new Error("enough");
    if (begun) {
      const response = await chat({ stream: true }, { signal: controller.signal });
      const reading = response.text();
      await sleep(100);
      controller.abort(reason);
      await expect(reading).rejects.toBe(reason);
    } else {
      const response = chat({}, { signal: controller.signal });
      await until("it was asked", () => provider.seen.length === 1, 5_000);
      controller.abort(reason);
      await expect(response).rejects.toBe(reason);
    }
    await until("the provider is let go", () => provider.abandoned === before + 1, 5_000);
    await until("it is recorded", async () => (await newest()).event.info?.["complete"] === false, 5_000);
  });

  test("leaving the body ends it too", async () => {
    const before = provider.abandoned;
    provider.answering = async (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (;;) {
        response.write("data: more\n\n");
        await sleep(20);
        if (response.destroyed) return;
      }
    };
    const response = await chat({ stream: true });
    for await (const _bytes of response.body as ReadableStream<Uint8Array>) break;
    await until("the provider is let go", () => provider.abandoned === before + 1, 5_000);
  });
});

test("a provider may think for longer than a client waits for a word", async () => {
  const patient = await stage.sdk(daemon, "caller", { timeout: 3_000 });
  provider.answering = async (response, seen) => {
    await sleep(5_000);
    await json(COMPLETION)(response, seen);
  };
  const response = await patient.fetch(CHAT, { method: "POST", body: JSON.stringify({ model: MODEL }) });
  expect(await response.json()).toEqual(COMPLETION);
});

describe("what is refused, before anything is sent", () => {
  test.each([
    ["a model that is not declared", { model: "gpt-x" }, 403, "not_declared", `declared: ${MODEL}, second`],
    ["a fallback that is not declared", { models: ["gpt-x"] }, 403, "not_declared", "gpt-x"],
    ["the model under another name, too", { Model: "gpt-x" }, 400, "invalid", "names its model"],
    ["no model", { model: undefined }, 400, "invalid", 'has no "model"'],
  ])("%s", async (_what, fields, status, code, message) => {
    const response = await chat(fields);
    expect(response.headers.get("x-should-retry")).toBe("false");
    const error = await refusal(response);
    expect(error).toMatchObject({ status, code });
    expect(error.message).toContain(message);
    expect(provider.seen).toEqual([]);
  });

  test("a model named twice", async () => {
    const response = await chat({}, { body: `{"model":"${MODEL}","\\u006dodel":"gpt-x"}` });
    expect(await refusal(response)).toMatchObject({
      status: 400,
      message: expect.stringContaining("more than once") as string,
    });
    expect(provider.seen).toEqual([]);
  });

  test.each([
    "http://vlinder/v1/files",
    "http://vlinder/v1/organization/admin_api_keys",
    "http://vlinder/v1/models/../files",
    "http://vlinder/v1/models/%2e%2e/files",
    "http://vlinder/v1/chat/completions/",
    "http://vlinder/v1/chat/completions?api-version=1",
    "http://vlinder/v1/messages",
    "http://vlinder/api/pull",
  ])("%s", async (url) => {
    const response = await vlinder.fetch(url, { method: "POST", body: JSON.stringify({ model: MODEL }) });
    expect(await refusal(response)).toMatchObject({ status: 400, code: "invalid" });
    expect(provider.seen).toEqual([]);
  });

  test("a method, a header of two lines, a body that is too large", async () => {
    const subject = "vlinder.v1.caller.service.infer";
    const body = { method: "POST", path: "/v1/chat/completions", body: JSON.stringify({ model: MODEL }) };
    for (const wrong of [
      { method: "DELETE" },
      { headers: { "x-title": "a\r\nauthorization: x" } },
      { headers: { "x\ntitle": "a" } },
      { path: "http://other/v1/chat/completions" },
      { path: "v1/chat/completions" },
      { path: "//v1/chat/completions" },
      { path: "/v1/../v1/chat/completions" },
      { path: "/v1/chat/completions#x" },
      { path: "/v1/chat%2fcompletions" },
      { stream: true },
      { extra: 1 },
    ]) {
      expect((await ask(wire, subject, { ...body, ...wrong })).error?.code, JSON.stringify(wrong)).toBe("invalid");
    }
    expect(await refusal(await chat({ text: "x".repeat(LIMITS.callBytes) }))).toMatchObject({
      status: 413,
      code: "too_large",
    });
    expect(await refusal(await chat({}, { body: "no json" }))).toMatchObject({ status: 400 });
    expect((await ask(wire, subject, { ...body, turn: "t-1" })).error?.code).toBe("not_found");
    expect((await ask(wire, subject, { ...body, branch: "none" })).error?.code).toBe("not_found");
    expect(provider.seen).toEqual([]);
  });

  test("a service that is not declared, for an agent and for others in its name", async () => {
    await stage.register(daemon, "plain", 'object_storage = "default"\n');
    const plain = await stage.sdk(daemon, "plain");
    const response = await plain.fetch(CHAT, { method: "POST", body: JSON.stringify({ model: MODEL }) });
    expect(await refusal(response)).toMatchObject({ status: 403, code: "not_declared" });
    // The server keeps one agent from asking as another.
    await expect(ask(await stage.wire(daemon, "plain"), "vlinder.v1.caller.service.infer", {}, 500)).rejects.toThrow();
    expect(provider.seen).toEqual([]);
  });
});

describe("a plain NATS client", () => {
  const subject = "vlinder.v1.caller.service.infer";
  const body = { method: "POST", path: "/v1/chat/completions", body: JSON.stringify({ model: MODEL }) };

  test("gets the whole answer in one reply", async () => {
    const { body: reply } = await ask(wire, subject, body);
    expect(reply).toMatchObject({ status: 200, body: JSON.stringify(COMPLETION), tokens: { input: 11, output: 3 } });
    expect(reply["state"]).toBe((await newest()).hash);
  });

  test("is told when one reply does not hold it, and finds it in the history", async () => {
    provider.answering = (response) => void response.end("\u0001".repeat(LIMITS.replyBytes / 2));
    const { error } = await ask(wire, subject, body);
    expect(error).toMatchObject({ code: "too_large", details: { state: (await newest()).hash } });
  });

  test("gets parts that are numbered when it asks for them, and may break the call off", async () => {
    provider.answering = async (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (let i = 0; !response.destroyed; i++) {
        response.write(`data: ${i}\n\n`);
        await sleep(10);
      }
    };
    const inbox = `_INBOX.caller.parts`;
    const subscription = wire.subscribe(inbox);
    wire.publish(subject, Buffer.from(JSON.stringify({ ...body, stream: true, call: "c-1" })), { reply: inbox });
    let number = 0;
    let last: Record<string, unknown> = {};
    for await (const { headers, data } of subscription) {
      last = decodeBody(data);
      if (headers?.has(PART_HEADER) !== true) break;
      expect(headers.get(PART_HEADER)).toBe(String(number));
      if (number === 0) expect(last["status"]).toBe(200);
      else expect(typeof last["body"]).toBe("string");
      if (++number === 5) {
        expect((await ask(wire, subject, { ...body, stream: true, call: "c-1" })).error?.code).toBe("conflict");
        const word = { call: "c-1", received: 5, cancel: true };
        expect((await ask(wire, "vlinder.v1.caller.service.ack", word)).body).toEqual({ open: true });
      }
    }
    expect(last["error"]).toMatchObject({
      code: "unavailable",
      message: "the call was broken off, as its caller asked",
    });
    expect((await ask(wire, "vlinder.v1.caller.service.ack", { call: "c-1", received: 5 })).body).toEqual({
      open: false,
    });
  });
});

describe("providers that are not as they should be", () => {
  test("one that is down is unavailable, and nothing is recorded", async () => {
    await stage.register(daemon, "lonely", DECLARES.replaceAll('"local"', '"down"'));
    const lonely = await stage.sdk(daemon, "lonely");
    const before = await lonely.client.request(parseAgentName("lonely"), "timeline.log", { limit: 1 });
    const response = await lonely.fetch(CHAT, { method: "POST", body: JSON.stringify({ model: MODEL }) });
    expect(response.headers.get("x-should-retry")).toBe("true");
    expect(await refusal(response)).toMatchObject({
      status: 503,
      message: expect.stringContaining("ECONNREFUSED") as string,
    });
    expect(await lonely.client.request(parseAgentName("lonely"), "timeline.log", { limit: 1 })).toEqual(before);
  });

  test("one that redirects is not followed: the key stays here", async () => {
    const other = await HttpProvider.start();
    provider.answering = (response) =>
      void response.writeHead(307, { location: `${other.url}/v1/chat/completions` }).end();
    const error = await refusal(await chat());
    expect(error).toMatchObject({ status: 424, message: expect.stringContaining("redirects (307)") as string });
    expect(other.seen).toEqual([]);
    await other.stop();
  });

  test("Anthropic's protocol has the key in a header of its own, and keeps the version that the SDK asks for", async () => {
    const declares = DECLARES.replaceAll('"local"', '"claude"').replace("models", 'protocol = "anthropic"\nmodels');
    await stage.register(daemon, "claude", declares);
    const claude = await stage.sdk(daemon, "claude");
    provider.answering = json({ usage: { input_tokens: 1, cache_read_input_tokens: 9, output_tokens: 2 } });
    const response = await claude.fetch("https://api.anthropic.com/v1/messages?beta=true", {
      method: "POST",
      headers: { "x-api-key": "placeholder", "anthropic-version": "2024-01-01" },
      body: JSON.stringify({ model: MODEL, max_tokens: 1, messages: [] }),
    });
    expect(response.status).toBe(200);
    await response.text();
    expect(provider.last.url).toBe("/v1/messages?beta=true");
    expect(provider.last.headers).toMatchObject({ "x-api-key": KEY, "anthropic-version": "2024-01-01" });
    expect(provider.last.headers.authorization).toBeUndefined();
    const { items } = await claude.client.request(parseAgentName("claude"), "timeline.log", { limit: 1 });
    expect(items[0]?.event.info).toMatchObject({ tokens: { input: 10, output: 2 } });
  });
});

test("a daemon that stops breaks off what does not end, and records it", async () => {
  provider.answering = async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: begun\n\n");
    await new Promise(() => {});
  };
  const response = await chat({ stream: true });
  const reading = expect(response.text()).rejects.toMatchObject({
    message: expect.stringContaining("stopping") as string,
  });
  await daemon.stop();
  await reading;
  await daemon.start();
  await expect
    .poll(async () => (await newest()).event, { timeout: 10_000 })
    .toMatchObject({
      info: { status: 200, complete: false },
      values: { response: [expect.any(String), 13] },
    });
});

test("the history with calls in it is intact, on this machine and for who takes it over", async () => {
  const admin = await stage.admin(daemon);
  expect(await admin.request(agent, "timeline.verify", {})).toMatchObject({ ok: true, damaged: 0 });
  const { hash, event } = await newest();
  expect(event.kind).toBe("call");
  await vlinder.kv.put("/after", "a call");
  const archive = await stage.path("caller.tar");
  await admin.admin("agents.export", { agent, path: archive });
  const second = await stage.daemon();
  const there = await Client.connect({ home: second.home });
  await there.admin("agents.import", { path: archive });
  expect(await there.request(agent, "timeline.verify", {})).toMatchObject({ ok: true, damaged: 0 });
  expect((await there.request(agent, "timeline.show", { ref: hash })).event).toEqual(event);
  await there.close();
});

test("the key is in no line of the log, no file of the home and no reply", async () => {
  const admin = await stage.admin(daemon);
  const { items } = await admin.admin("providers.list");
  expect(items.find((item) => item.provider === "local")?.key).toEqual({
    from: "environment",
    place: "LOCAL_KEY",
    required: true,
    error: null,
  });
  expect(items.find((item) => item.provider === "local")?.agents).toEqual(["caller"]);
  provider.answering = json({ data: [] });
  expect(await admin.admin("providers.test", { provider: "local" })).toMatchObject({
    ok: true,
    status: 200,
    problem: null,
  });
  expect(provider.last).toMatchObject({
    method: "GET",
    url: "/v1/models",
    headers: { authorization: `Bearer ${KEY}` },
  });
  provider.answering = json({}, 401);
  expect(await admin.admin("providers.test", { provider: "local" })).toMatchObject({
    ok: false,
    status: 401,
    problem: { code: "denied" },
  });
  expect(await admin.admin("providers.test", { provider: "openai" })).toMatchObject({
    ok: false,
    status: null,
    problem: { code: "unavailable" },
  });
  expect(daemon.log.length).toBeGreaterThan(0);
  expect(daemon.log.join("\n")).not.toContain(KEY);
  // 1: nothing found, and nothing went wrong.
  expect(spawnSync("grep", ["-r", "-l", KEY, daemon.home]).status).toBe(1);
});
