import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { statusError } from "../../src/sync/buckets/http-error.ts";
import { HttpFetch, type HttpFetchOptions } from "../../src/sync/buckets/http-fetch.ts";
import type { HttpLimits } from "../../src/sync/buckets/http-limits.ts";

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const QUICK: Partial<HttpLimits> = { pause: 1, reply: 5000, idle: 5000, total: 20_000 };

interface Service {
  readonly url: string;
  readonly seen: string[];
  readonly http: HttpFetch;
}

/** Answers the n-th request with the n-th answer, and all later ones with the last. */
async function service(answers: readonly Answer[], options: Partial<HttpFetchOptions> = {}): Promise<Service> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      seen.push(`${request.method} ${request.url} ${Buffer.concat(parts).toString()}`.trim());
      answers[Math.min(seen.length, answers.length) - 1]?.(response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const http = new HttpFetch({ uri: "test://bucket", ...options, limits: { ...QUICK, ...options.limits } });
  onTestFinished(() => {
    http.close();
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, http };
}

const reply =
  (status: number, headers: Record<string, string> = {}, body = "body"): Answer =>
  (response) =>
    response.writeHead(status, headers).end(body);
const drop: Answer = (response) => response.destroy();
const hang: Answer = () => undefined;
const cut: Answer = (response) => {
  response.writeHead(200, { "content-length": "100" }).write("half");
  setTimeout(() => response.destroy(), 5);
};

const words = { uri: "test://bucket", denied: (status: number) => `denied ${status}`, missing: "make it" };

describe("a request is tried again", () => {
  test.each([
    ["a dropped connection", drop],
    ["500", reply(500)],
    ["503", reply(503)],
    ["429", reply(429)],
    ["a small reply that breaks off", cut],
  ])("after %s", async (_, fault) => {
    const { http, seen, url } = await service([fault, fault, reply(200)]);
    const response = await http.fetch(`${url}/x`);
    expect([response.status, await response.text(), response.url]).toEqual([200, "body", `${url}/x`]);
    expect(seen.length).toBe(3);
  });

  test("with its body, when that may be", async () => {
    const { http, seen, url } = await service([reply(500), reply(200)]);
    await http.fetch(`${url}/x`, { method: "PUT", body: new Blob(["all of it"]) });
    expect(seen).toEqual(["PUT /x all of it", "PUT /x all of it"]);
  });

  test("but not a POST that may have happened, unless it is known to be harmless", async () => {
    const once = await service([reply(500), reply(200)]);
    expect((await once.http.fetch(`${once.url}/x`, { method: "POST", body: "x" })).status).toBe(500);
    const lost = await service([drop, reply(200)]);
    await expect(lost.http.fetch(`${lost.url}/x`, { method: "POST" })).rejects.toMatchObject({ code: "unavailable" });
    const refused = await service([reply(429), reply(200)]);
    expect((await refused.http.fetch(`${refused.url}/x`, { method: "POST", body: "x" })).status).toBe(200);
    const harmless = await service([drop, reply(200)], { isIdempotent: () => true });
    expect((await harmless.http.fetch(`${harmless.url}/x`, { method: "POST", body: "x" })).status).toBe(200);
  });

  test("no more often than allowed, and the last reply is given", async () => {
    const { http, seen, url } = await service([reply(503)], { limits: { tries: 3 } });
    expect((await http.fetch(`${url}/x`)).status).toBe(503);
    expect(seen.length).toBe(3);
  });

  test("not after a refusal", async () => {
    for (const status of [400, 401, 403, 404, 409, 412, 501]) {
      const { http, seen, url } = await service([reply(status)]);
      expect((await http.fetch(`${url}/x`)).status).toBe(status);
      expect(seen.length).toBe(1);
    }
  });
});

describe("the service's own time is kept", () => {
  test("Retry-After in seconds", async () => {
    const { http, url } = await service([reply(503, { "retry-after": "0.2" }), reply(200)]);
    const before = performance.now();
    await http.fetch(`${url}/x`);
    expect(performance.now() - before).toBeGreaterThanOrEqual(195);
  });

  test("longer than there is patience: the reply is given at once, with the time", async () => {
    const { http, seen, url } = await service([reply(429, { "retry-after": "3600" })]);
    const response = await http.fetch(`${url}/x`);
    expect(seen.length).toBe(1);
    expect(await statusError(response, "GET x", words)).toMatchObject({
      code: "unavailable",
      retryable: true,
      details: { retryAfter: 3_600_000, status: 429 },
    });
  });

  test("a 429 with only RateLimit waits for the end of its window", async () => {
    const { http, url } = await service([reply(429, { ratelimit: '"api";r=0;t=90' })]);
    const response = await http.fetch(`${url}/x`);
    expect((await statusError(response, "GET x", words)).details).toMatchObject({ retryAfter: 90_000 });
  });

  test("when none are left, nothing is asked before the window ends", async () => {
    const { http, seen, url } = await service([reply(200, { ratelimit: '"api";r=0;t=90' }), reply(200)]);
    await http.fetch(`${url}/api/x`);
    const error = { code: "unavailable", retryable: true, details: { retryAfter: expect.closeTo(90_000, -4) } };
    await expect(http.fetch(`${url}/api/y`)).rejects.toMatchObject(error);
    expect((await http.fetch(`${url}/buckets/z`)).status).toBe(200);
    expect(seen).toEqual(["GET /api/x", "GET /buckets/z"]);
  });
});

describe("what hangs is given up", () => {
  test("before the reply", async () => {
    const { http, seen, url } = await service([hang], { limits: { reply: 30, tries: 2 } });
    await expect(http.fetch(`${url}/x`)).rejects.toMatchObject({ code: "unavailable", details: { code: "ETIMEDOUT" } });
    expect(seen.length).toBe(2);
  });

  test("within a large body, which may take long as a whole", async () => {
    const large = { "content-length": String(2 << 20) };
    const stuck = await service([(response) => response.writeHead(200, large).write("x")], { limits: { idle: 30 } });
    const response = await stuck.http.fetch(`${stuck.url}/x`);
    await expect(response.arrayBuffer()).rejects.toMatchObject({ details: { code: "ETIMEDOUT" } });

    const slow = await service([reply(200, large, "x".repeat(2 << 20))], { limits: { idle: 300 } });
    let bytes = 0;
    for await (const part of (await slow.http.fetch(`${slow.url}/x`)).body ?? []) {
      if (bytes === 0) await new Promise((resolve) => setTimeout(resolve, 350));
      bytes += (part as Uint8Array).length;
    }
    expect(bytes).toBe(2 << 20);
  });

  test("by close: what is under way, what waits, and what comes later", async () => {
    const { http, url } = await service([hang, reply(503, { "retry-after": "10" })]);
    const closed = { code: "unavailable", retryable: false, message: /closed/ };
    const both = [http.fetch(`${url}/x`), http.fetch(`${url}/y`)];
    const said = Promise.all(both.map((one) => expect(one).rejects.toMatchObject(closed)));
    await new Promise((resolve) => setTimeout(resolve, 50));
    http.close();
    await said;
    await expect(http.fetch(`${url}/z`)).rejects.toMatchObject(closed);
  });

  test("by the caller's signal, and not again", async () => {
    const { http, seen, url } = await service([hang]);
    const controller = new AbortController();
    const asked = expect(http.fetch(`${url}/x`, { signal: controller.signal })).rejects.toThrow();
    setTimeout(() => controller.abort(), 30);
    await asked;
    expect(seen.length).toBe(1);
  });
});

describe("what a reply means", () => {
  test.each([
    [401, { code: "denied", retryable: false, remedy: "denied 401" }],
    [403, { code: "denied", retryable: false, remedy: "denied 403" }],
    [404, { code: "unavailable", retryable: false, remedy: "make it" }],
    [400, { code: "unavailable", retryable: false }],
    [507, { code: "unavailable", retryable: false }],
    [500, { code: "unavailable", retryable: true }],
    [429, { code: "unavailable", retryable: true }],
  ])("%i", async (status, expected) => {
    expect(await statusError(new Response(null, { status }), "GET x", words)).toMatchObject(expected);
  });

  test("of any size is read as far as its message may be", async () => {
    let pulled = 0;
    const endless = new ReadableStream({ pull: (to) => to.enqueue(Buffer.alloc(++pulled && 32 * 1024, "x")) });
    await statusError(new Response(endless, { status: 500 }), "GET x", words);
    expect(pulled).toBeLessThan(8);
  });

  test("shows the service's words, and no secret in them", async () => {
    const body = JSON.stringify({
      error: `no\nright for hf_${"a".repeat(20)} at https://x/y?sig=abc ${"z".repeat(900)}`,
    });
    const { message } = await statusError(new Response(body, { status: 403 }), "GET x", words);
    expect(message).toMatch(/no right for … at https:\/\/x\/y\?… z+…$/);
    const xml = new Response("<Error><Message>Access Denied</Message></Error>", { status: 403 });
    expect((await statusError(xml, "GET x", words)).message).toMatch(/403: Access Denied$/);
  });
});
