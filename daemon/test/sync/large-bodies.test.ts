import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { collectGarbage } from "../../src/sync/buckets/collect-garbage.ts";
import { collected } from "../../src/sync/buckets/collected.ts";
import { HttpFetch } from "../../src/sync/buckets/http-fetch.ts";
import { uncopied } from "../../src/sync/buckets/uncopied-body.ts";

const LARGE = randomBytes((3 << 20) + 5);

async function* partsOf(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

describe("a body that is sent", () => {
  test("is not copied when it is large", async () => {
    const { body, headers } = uncopied({ method: "PUT", body: LARGE, headers: { "x-a": "b" } });
    expect(Object.fromEntries(headers as Headers)).toEqual({ "content-length": String(LARGE.length), "x-a": "b" });
    const parts: Uint8Array[] = [];
    for await (const part of body as unknown as AsyncIterable<Uint8Array>) parts.push(part);
    expect(parts.every(({ buffer }) => buffer === LARGE.buffer)).toBe(true);
    expect(Buffer.concat(parts).equals(LARGE)).toBe(true);
  });

  test("is left as it is when it is small, or none, or a text", () => {
    for (const init of [{}, { body: Buffer.alloc(1 << 20) }, { body: "x".repeat(2 << 20) }]) {
      expect(uncopied(init)).toBe(init);
    }
  });

  test("arrives whole and with its length, also the second time", async () => {
    const lengths: (string | undefined)[] = [];
    const bodies: Buffer[] = [];
    let isChunked = false;
    const server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        lengths.push(request.headers["content-length"]);
        isChunked ||= request.headers["transfer-encoding"] !== undefined;
        bodies.push(Buffer.concat(parts));
        response.writeHead(bodies.length === 1 ? 503 : 200).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const http = new HttpFetch({ uri: "s3://a", limits: { pause: 1 } });
    onTestFinished(() => {
      http.close();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const reply = await http.fetch(`http://127.0.0.1:${port}/`, { method: "PUT", body: LARGE });
    expect(reply.status).toBe(200);
    expect(isChunked).toBe(false);
    expect(lengths).toEqual([String(LARGE.length), String(LARGE.length)]);
    expect(bodies.every((body) => body.equals(LARGE))).toBe(true);
  });
});

describe("a body that comes", () => {
  test("is put together, whether its length is known or not", async () => {
    for (const length of [LARGE.length, undefined]) {
      const bytes = await collected(partsOf(LARGE.subarray(0, 7), LARGE.subarray(7)), length);
      expect(bytes.equals(LARGE)).toBe(true);
    }
    expect(await collected(undefined, undefined)).toHaveLength(0);
  });

  test("is refused with another length, and takes no room for what only was announced", async () => {
    const part = Buffer.from("abc");
    for (const length of [2, 4, 1e12]) {
      await expect(collected(partsOf(part), length)).rejects.toThrow(`3 of ${length} bytes came`);
    }
  });
});

test("garbage is collected when it is asked for", async () => {
  const refs = Array.from({ length: 2 }, () => new WeakRef(Buffer.alloc(1 << 20)));
  for (const _ of refs) await collectGarbage();
  expect(refs.map((ref) => ref.deref())).toEqual([undefined, undefined]);
  expect(Reflect.has(globalThis, "gc")).toBe(false);
});
