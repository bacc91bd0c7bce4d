import { setTimeout as sleep } from "node:timers/promises";
import {
  decodeBody,
  encodeBody,
  ERROR_CODE_HEADER,
  ERROR_HEADER,
  LIMITS,
  PART_HEADER,
  VlinderError,
} from "@vlinder/protocol";
import { connect as natsConnect, headers as natsHeaders, type Msg, type NatsConnection } from "nats";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client, providerFetch } from "../src/index.ts";
import { type NatsServer, startNats } from "./nats-server.ts";
import { TODO } from "./support.ts";

let server: NatsServer;
let nats: NatsConnection;
let client: Client;
/** Requests and words that came, oldest first. */
let asked: { operation: string; body: Record<string, unknown> }[];
let answer: (message: Msg) => void | Promise<void>;
let call: typeof fetch;

beforeAll(async () => {
  server = await startNats();
  nats = await natsConnect({ servers: server.url });
  client = await Client.connect({ agent: TODO, url: server.url, timeout: 2_000, retries: 0 });
  call = providerFetch({ client, agent: TODO, turn: { id: "t-1", base: "c-1" } });
  nats.subscribe("vlinder.v1.todo.service.*", {
    callback: (_error, message) => {
      const operation = message.subject.split(".").at(-1) as string;
      asked.push({ operation, body: decodeBody(message.data) });
      if (operation === "ack") message.respond(encodeBody({ open: true }, "msgpack"));
      else void answer(message);
    },
  });
  await nats.flush();
});
afterAll(async () => {
  await client.close();
  await nats.close();
  await server.stop();
});

function part(message: Msg, number: number, body: object): void {
  const headers = natsHeaders();
  headers.set(PART_HEADER, String(number));
  message.respond(encodeBody(body, "msgpack"), { headers });
}

function head(message: Msg, status = 200): void {
  part(message, 0, { status, headers: { "content-type": "text/plain" } });
}

function end(message: Msg, parts: number): void {
  message.respond(
    encodeBody({ status: 200, headers: {}, parts, size: 0, tokens: null, state: "0".repeat(64) }, "msgpack"),
  );
}

function fail(message: Msg, error: VlinderError): void {
  const headers = natsHeaders();
  headers.set(ERROR_CODE_HEADER, error.code);
  headers.set(ERROR_HEADER, error.message);
  message.respond(encodeBody({ error: error.toBody() }, "msgpack"), { headers });
}

function post(url = "http://vlinder/v1/chat/completions", init: RequestInit = {}): Promise<Response> {
  asked = [];
  return call(url, { method: "POST", body: "{}", ...init });
}

const text = (value: string): { body: Uint8Array } => ({ body: Buffer.from(value) });

describe("what is asked", () => {
  test.each([
    ["http://vlinder/v1/chat/completions", "infer", "/v1/chat/completions"],
    ["https://api.openai.com/v1/embeddings", "embed", "/v1/embeddings"],
    ["https://openrouter.ai/api/v1/chat/completions", "infer", "/v1/chat/completions"],
    ["https://api.groq.com/openai/v1/embeddings", "embed", "/v1/embeddings"],
    ["http://127.0.0.1:11434/api/embed", "embed", "/api/embed"],
    ["http://proxy/ollama/api/chat", "infer", "/api/chat"],
    ["https://api.anthropic.com/v1/messages?beta=true", "infer", "/v1/messages?beta=true"],
    ["http://vlinder/v1/models/embed%2Fthing", "infer", "/v1/models/embed/thing"],
    ["http://vlinder/chat/completions", "infer", "/chat/completions"],
    ["http://vlinder/v1", "infer", "/v1"],
  ])("of %s the service and the path", async (url, service, path) => {
    answer = (message) => (head(message), end(message, 1));
    await (await post(url)).text();
    expect(asked[0]).toMatchObject({ operation: service, body: { path, method: "POST", stream: true } });
  });

  test("where it belongs, and no key", async () => {
    answer = (message) => (head(message), end(message, 1));
    const headers = { authorization: "Bearer x", "X-Api-Key": "x", cookie: "a=b", accept: "text/event-stream" };
    await post(undefined, { headers });
    expect(asked[0]?.body).toMatchObject({ turn: "t-1" });
    expect(asked[0]?.body["headers"]).toEqual({
      accept: "text/event-stream",
      "content-type": "text/plain;charset=UTF-8",
    });
  });
});

describe("an answer in parts", () => {
  test("that breaks off is read to where it did, and has no end", async () => {
    answer = (message) => {
      head(message);
      part(message, 1, text("one "));
      part(message, 2, text("two"));
      fail(message, new VlinderError("unavailable", "the answer broke off after 7 bytes"));
    };
    const response = await post();
    // Everything is here before the first of it is read.
    await sleep(100);
    const read: string[] = [];
    const reading = (async () => {
      for await (const bytes of response.body as ReadableStream<Uint8Array>) read.push(Buffer.from(bytes).toString());
    })();
    await expect(reading).rejects.toMatchObject({ code: "unavailable", message: "the answer broke off after 7 bytes" });
    expect(read).toEqual(["one ", "two"]);
  });

  test("is read as it comes", async () => {
    let go = (): void => {};
    answer = async (message) => {
      head(message);
      part(message, 1, text("one "));
      await new Promise<void>((resolve) => (go = resolve));
      part(message, 2, text("two"));
      end(message, 3);
    };
    const response = await post();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe("one ");
    go();
    expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe("two");
    expect((await reader.read()).done).toBe(true);
  });

  test.each([
    ["in the middle", [0, 1, 3], 4],
    ["at the end", [0, 1], 3],
    ["and another twice", [0, 1, 1], 3],
  ])("one of which is lost %s is an error, and no text with a gap", async (_where, numbers, parts) => {
    answer = (message) => {
      for (const number of numbers) {
        if (number === 0) head(message);
        else part(message, number, text(`${number}`));
      }
      end(message, parts);
    };
    const response = await post();
    await expect(response.text()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("was lost") as string,
    });
  });

  test("without its head is no answer", async () => {
    answer = (message) => end(message, 0);
    expect((await post()).status).toBe(503);
    answer = (message) => part(message, 1, text("x"));
    expect((await post()).status).toBe(503);
  });

  test("that fails at its end is an error for who reads it", async () => {
    answer = (message) => {
      head(message);
      part(message, 1, text("begun"));
      fail(message, new VlinderError("unavailable", "it broke off"));
    };
    await expect((await post()).text()).rejects.toMatchObject({ message: "it broke off" });
  });

  test("is acknowledged as it is read, and not before", async () => {
    const bytes = Buffer.alloc(LIMITS.callWindow / 8, "x");
    answer = (message) => {
      head(message);
      for (let i = 1; i <= 8; i++) part(message, i, { body: bytes });
    };
    const response = await post();
    const name = asked.find(({ operation }) => operation === "infer")?.body["call"];
    const words = () =>
      asked.flatMap(({ operation, body }) => (operation === "ack" && body["call"] === name ? [body] : []));
    await sleep(50);
    expect(words()).toEqual([]);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (let i = 0; i < 4; i++) await reader.read();
    await expect.poll(() => words().at(-1)?.["received"]).toBeGreaterThanOrEqual(3);
    await reader.cancel("enough");
    await expect.poll(() => words().at(-1)?.["cancel"]).toBe(true);
  });

  test("with a status that has no body has none", async () => {
    answer = (message) => (head(message, 204), end(message, 1));
    const response = await post();
    expect([response.status, response.body]).toEqual([204, null]);
  });
});

describe("a refusal is an answer that an SDK can show", () => {
  test.each([
    ["not_declared", false, 403],
    ["invalid", false, 400],
    ["unavailable", true, 503],
    ["unavailable", false, 424],
    ["timeout", true, 504],
    ["quota_exceeded", false, 424],
  ] as const)("%s, retryable: %s, is %d", async (code, retryable, status) => {
    answer = (message) => fail(message, new VlinderError(code, "why", { retryable, remedy: "do that" }));
    const response = await post();
    expect([response.status, response.headers.get("x-should-retry")]).toEqual([status, String(retryable)]);
    expect(await response.json()).toMatchObject({ type: "error", error: { code, message: "vlinder: why; do that" } });
  });

  test("nobody answers, or nobody is there", async () => {
    answer = () => {};
    const quick = await Client.connect({ agent: TODO, url: server.url, timeout: 100, retries: 0 });
    const silent = await providerFetch({ client: quick, agent: TODO })("http://vlinder/v1/models");
    expect(silent.status).toBe(504);
    await quick.close();
    expect((await providerFetch({ client: quick, agent: TODO })("http://vlinder/v1/models")).status).toBe(424);
  });
});

describe("a signal", () => {
  test("that is aborted already asks nothing", async () => {
    const reason = new Error("no");
    await expect(post(undefined, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(asked).toEqual([]);
  });

  test("of a Request counts too, also when the request itself is gone", async () => {
    answer = (message) => head(message);
    asked = [];
    const controller = new AbortController();
    const response = await call(new Request("http://vlinder/v1/models", { signal: controller.signal }));
    const reading = response.text();
    controller.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    await expect.poll(() => asked.at(-1)?.body["cancel"]).toBe(true);
  });
});

test("what is no request is a TypeError, as of every fetch", async () => {
  asked = [];
  await expect(call("not a url")).rejects.toThrow(TypeError);
  await expect(call("http://vlinder/v1/models", { body: "x" })).rejects.toThrow(TypeError);
  expect(asked).toEqual([]);
});
