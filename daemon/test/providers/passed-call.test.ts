import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { LIMITS, parseAgentName, sha256, VlinderError } from "@vlinder/protocol";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { HttpProvider, json } from "../../../test/harness/http-provider.ts";
import { type PassOptions, passCall } from "../../src/providers/passed-call.ts";
import { type PreparedCall, prepareCall } from "../../src/providers/prepared-call.ts";
import { testProvider } from "../../src/providers/provider-test.ts";
import { Providers } from "../../src/providers/providers.ts";
import { callInfo, type RecordedCall } from "../../src/providers/recorded-call.ts";
import { manifestOf } from "../../src/registry/manifest.ts";
import { providersOf } from "../../src/registry/provider-config.ts";
import { TomlSource } from "../../src/registry/toml-source.ts";
import { errorOf } from "../registry/folders.ts";

const agent = parseAgentName("caller");
let server: HttpProvider;
let providers: Providers;
let recorded: RecordedCall[];

beforeAll(async () => {
  server = await HttpProvider.start();
  const table = providersOf({ local: { url: server.url }, down: { url: "http://127.0.0.1:9" } });
  providers = new Providers(table, { folder: "/no/such/folder", env: {} });
});
afterAll(() => server.stop());
beforeEach(() => {
  recorded = [];
  server.answering = json({ ok: true });
});

async function prepared(provider = "local"): Promise<PreparedCall> {
  const text = `name = "caller"\nobject_storage = "default"\n[requirements.services.infer]\nprovider = "${provider}"\nmodels = ["m"]`;
  const manifest = manifestOf(new TomlSource(text, "agent.toml"), [], providers.table);
  const body = Buffer.from('{"model":"m"}');
  const asked = { service: "infer", method: "POST", path: "/v1/chat/completions", headers: {}, body } as const;
  return await prepareCall(asked, agent, manifest, providers);
}

async function pass(options: Partial<PassOptions> = {}, provider = "local") {
  const record = async (call: RecordedCall) => {
    recorded.push(call);
    return { state: sha256("state") };
  };
  return await passCall(await prepared(provider), {
    record,
    signal: new AbortController().signal,
    listener: null,
    ...options,
  });
}

test("an answer that a proxy has compressed all the same arrives as what it is", async () => {
  server.answering = (response) => {
    response.writeHead(200, { "content-encoding": "gzip", "content-type": "application/json" });
    response.end(gzipSync('{"usage":{"prompt_tokens":1,"completion_tokens":2}}'));
  };
  const { body, headers, tokens } = await pass();
  expect(body.toString()).toBe('{"usage":{"prompt_tokens":1,"completion_tokens":2}}');
  expect(headers).not.toHaveProperty("content-encoding");
  expect(tokens).toEqual({ input: 1, output: 2 });
  expect(server.last.headers["accept-encoding"]).toBe("identity");
  server.answering = (response) => void response.writeHead(200, { "content-encoding": "zstd" }).end("x");
  expect((await errorOf(() => pass())).message).toContain("an encoding that was not asked for: zstd");
});

describe("an answer that is not as it should be", () => {
  test("longer than the limit: cut off, recorded so far, and not kept in memory", async () => {
    const chunk = Buffer.alloc(1024 * 1024);
    server.answering = async (response) => {
      while (!response.destroyed) if (!response.write(chunk)) await new Promise((resolve) => setTimeout(resolve, 1));
    };
    const before = server.abandoned;
    const error = await errorOf(() => pass());
    await expect.poll(() => server.abandoned).toBe(before + 1);
    expect(error).toMatchObject({ code: "too_large", details: { limit: LIMITS.answerBytes } });
    expect(recorded[0]).toMatchObject({ complete: false, status: 200 });
    expect(recorded[0]?.response.length).toBeGreaterThan(LIMITS.answerBytes - 2 * chunk.length);
    expect(recorded[0]?.response.length).toBeLessThanOrEqual(LIMITS.answerBytes);
  });

  test.each([
    ["no answer", false, "sent nothing for 100 ms", null],
    ["nothing more", true, "sent nothing for 100 ms", 200],
  ])("%s within the time", async (_what, begins, message, status) => {
    server.answering = async (response) => {
      if (begins) response.writeHead(200).write("begun");
      await new Promise(() => {});
    };
    const before = server.abandoned;
    const error = await errorOf(() => pass({ idle: 100 }));
    expect(error).toMatchObject({ code: "timeout", retryable: true });
    expect(error.message).toContain(message);
    expect(recorded[0]).toMatchObject({ complete: false, status });
    await expect.poll(() => server.abandoned).toBe(before + 1);
  });

  test("the time that the caller takes to read is not the provider's", async () => {
    server.answering = async (response) => {
      response.writeHead(200);
      for (let i = 0; i < 3; i++) {
        response.write(`${i}`);
        await sleep(20);
      }
      response.end();
    };
    const listener = { head: () => sleep(200), part: () => sleep(200) };
    const { body } = await pass({ idle: 150, listener });
    expect(body.toString()).toBe("012");
  });

  test("a redirect: nothing of it is read, and the connection is let go", async () => {
    server.answering = async (response) => {
      response.writeHead(307, { location: "http://127.0.0.1:9/" }).write("moved");
      await new Promise(() => {});
    };
    const before = server.abandoned;
    expect(await errorOf(() => pass())).toMatchObject({ code: "unavailable", retryable: false });
    expect(recorded[0]).toMatchObject({ status: 307, complete: false });
    await expect.poll(() => server.abandoned).toBe(before + 1);
  });

  test("a connection that ends in the middle", async () => {
    server.answering = async (response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("begun");
      await sleep(50);
      response.destroy();
    };
    const error = await errorOf(() => pass());
    expect(error).toMatchObject({ code: "unavailable", retryable: true });
    expect(error.message).toMatch(/^the answer of the provider "local" broke off after 5 bytes: /);
    expect(callInfo(recorded[0] as RecordedCall)).toMatchObject({ status: 200, complete: false, model: "m" });
  });

  test("a connection that ends while what came before is still handed on: all of it arrives", async () => {
    server.answering = async (response) => {
      response.writeHead(200);
      for (const text of ["one ", "two ", "three"]) {
        response.write(text);
        await sleep(20);
      }
      response.destroy();
    };
    const heard: string[] = [];
    const listener = {
      head: () => sleep(20),
      part: async (bytes: Uint8Array) => (await sleep(200), void heard.push(Buffer.from(bytes).toString())),
    };
    const error = await errorOf(() => pass({ listener }));
    expect(error.message).toContain("broke off after 13 bytes");
    expect(heard.join("")).toBe("one two three");
    expect(Buffer.from(recorded[0]?.response ?? []).toString()).toBe("one two three");
  });

  test("one that ends before there is any answer was made, and is recorded; one to nobody was not", async () => {
    server.answering = () => Promise.reject(new Error("break"));
    expect((await errorOf(() => pass())).message).toContain("gave no answer");
    expect(recorded).toHaveLength(1);
    expect(callInfo(recorded[0] as RecordedCall)).not.toHaveProperty("status");
    expect((await errorOf(() => pass({}, "down"))).message).toContain("ECONNREFUSED");
    expect(recorded).toHaveLength(1);
  });
});

test("who breaks it off says why, before it begins and while it goes on", async () => {
  const reason = new VlinderError("unavailable", "the turn is over");
  expect(await errorOf(() => pass({ signal: AbortSignal.abort(reason) }))).toBe(reason);
  expect(recorded).toEqual([]);
  server.answering = async (response) => {
    response.writeHead(200).write("begun");
    await new Promise(() => {});
  };
  const controller = new AbortController();
  const listener = { head: () => {}, part: () => controller.abort(reason) };
  expect(await errorOf(() => pass({ signal: controller.signal, listener }))).toBe(reason);
  expect(recorded[0]).toMatchObject({ complete: false });
  expect(Buffer.from(recorded[0]?.response ?? []).toString()).toBe("begun");
});

test("an answer that can't be recorded is no answer", async () => {
  const full = new VlinderError("unavailable", "the disk is full");
  expect(await errorOf(() => pass({ record: () => Promise.reject(full) }))).toBe(full);
});

test("a provider that config.toml names no more, or that speaks something else now, is refused with what to do", async () => {
  const text = `name = "caller"\nobject_storage = "default"\n[requirements.services.infer]\nprovider = "gone"\nprotocol = "openai"\nmodels = ["m"]`;
  const manifest = manifestOf(new TomlSource(text, "agent.toml"), [], null);
  const asked = { service: "infer", method: "GET", path: "/v1/models", headers: {}, body: null } as const;
  const places = { folder: "/no/such/folder", env: {} };
  const none = new Providers(providersOf({}), places);
  expect((await errorOf(() => prepareCall(asked, agent, manifest, none))).message).toBe(
    'config.toml has no provider "gone" any more',
  );
  expect(none.replace(providersOf({}))).toBe(false);
  expect(none.replace(providersOf({ gone: { url: server.url, protocol: "anthropic" } }))).toBe(true);
  expect((await errorOf(() => prepareCall(asked, agent, manifest, none))).message).toContain("speaks anthropic now");
  none.replace(providersOf({ gone: { url: server.url } }));
  expect((await prepareCall(asked, agent, manifest, none)).target.url).toBe(`${server.url}/v1/models`);
});

test("a test of a provider says whether it answers, and whether it takes the key", async () => {
  const own = providers.named("local");
  expect(await testProvider(own, providers)).toMatchObject({ ok: true, status: 200, problem: null });
  server.answering = json({}, 403);
  expect((await testProvider(own, providers)).problem?.code).toBe("denied");
  server.answering = json({}, 404);
  expect((await testProvider(own, providers)).problem?.details["remedy"]).toContain(server.url);
  const down = await testProvider(providers.named("down"), providers);
  expect(down).toMatchObject({ ok: false, status: null, problem: { code: "unavailable" } });
  expect((await errorOf(() => providers.named("nobody"))).message).toBe('there is no provider "nobody"');
});
