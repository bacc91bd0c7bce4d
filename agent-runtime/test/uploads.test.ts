import { LIMITS, sha256 } from "@vlinder/protocol";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { type ConnectOptions, StoredValue } from "../src/index.ts";
import { type Fault } from "./strict-responder.ts";
import { Stage } from "./support.ts";

const LARGE = Buffer.alloc(5_000_000, "0123456789abc");

async function stageFor(options: ConnectOptions = {}): Promise<Stage> {
  const stage = await Stage.open(options);
  onTestFinished(() => stage[Symbol.asyncDispose]());
  return stage;
}

const file = (bytes: Uint8Array = LARGE) => ({
  size: bytes.length,
  stream: () => new Blob([new Uint8Array(bytes)]).stream(),
});

test("parts are of one size and few are in flight", async () => {
  const stage = await stageFor();
  stage.responder.delay = () => 5;
  const { hash } = await stage.vlinder.kv.put("/k", LARGE);
  expect(hash).toBe(sha256(LARGE));
  expect(stage.responder.count("value.put")).toBe(Math.ceil(LARGE.length / LIMITS.valueBytes));
  expect(stage.responder.mostOpen).toBeGreaterThan(1);
  expect(stage.responder.mostOpen).toBeLessThanOrEqual(4);
  expect(stage.responder.count("kv.put")).toBe(1);
  expect(stage.responder.violations).toEqual([]);
});

test("many large values at once: two are on their way, and each is put", async () => {
  const stage = await stageFor();
  stage.responder.delay = () => 2;
  const keys = Array.from({ length: 12 }, (_, i) => `/k/${i}`);
  await Promise.all(keys.map((key, i) => stage.vlinder.kv.put(key, LARGE.subarray(i))));
  expect(stage.responder.mostOpen).toBeLessThanOrEqual(8 + 2);
  const { kv } = stage.responder.state().head();
  expect(keys.map((key, i) => sha256(kv.get(key) ?? "") === sha256(LARGE.subarray(i)))).not.toContain(false);
});

describe("a large put is done once, and right, when", () => {
  test.each(["lost", "unanswered", "unavailable"] as const)("every third part is %s", async (fault) => {
    const stage = await stageFor({ timeout: 200 });
    let messages = 0;
    let hit = 0;
    stage.responder.fault = (operation): Fault => {
      if (!operation.startsWith("value.put") || ++messages % 3 !== 0 || hit > 5) return null;
      hit++;
      return fault;
    };
    await stage.vlinder.kv.put("/k", file(), { expect: null });
    expect(hit).toBeGreaterThan(2);
    expect(sha256(stage.responder.state().head().kv.get("/k") ?? "")).toBe(sha256(LARGE));
    expect(stage.responder.state().line()).toHaveLength(2);
  });

  test("replies come in any order", async () => {
    const stage = await stageFor();
    const delays = fc.sample(fc.nat(30), { numRuns: 100, seed: 5 });
    stage.responder.delay = () => delays.pop() ?? 0;
    await stage.vlinder.kv.put("/k", file());
    expect(sha256(stage.responder.state().head().kv.get("/k") ?? "")).toBe(sha256(LARGE));
  });

  test.each([
    ["in the midst", "value.put", 5],
    ["before the put", "kv.put", 1],
  ])("the daemon forgets it %s", async (_when, operation, at) => {
    const stage = await stageFor();
    let seen = 0;
    stage.responder.fault = (one) => {
      if (one === operation && ++seen === at) stage.responder.forgetUploads();
      return null;
    };
    await stage.vlinder.kv.put("/k", file(), { expect: null });
    expect(seen).toBeGreaterThan(at);
    expect(sha256(stage.responder.state().head().kv.get("/k") ?? "")).toBe(sha256(LARGE));
    seen = 0;
    await expect(stage.vlinder.kv.put("/once", file().stream())).rejects.toMatchObject({
      code: "unavailable",
      retryable: true,
    });
    expect(stage.responder.state().head().kv.has("/once")).toBe(false);
  });
});

test("a batch takes large values, and not more than the daemon keeps", async () => {
  const stage = await stageFor();
  const blob = new Blob(["x".repeat(600_000)]);
  const { hashes } = await stage.vlinder.kv.batch([
    { op: "put", key: "/a", value: blob },
    { op: "put", key: "/b", value: "1" },
    { op: "put", key: "/c", value: blob },
  ]);
  expect(hashes[0]).toBe(sha256("x".repeat(600_000)));
  expect(hashes).toEqual([hashes[0], sha256("1"), hashes[0]]);
  expect(stage.responder.count("value.put")).toBe(2);
  stage.responder.received.length = 0;
  const many = Array.from({ length: LIMITS.uploads + 1 }, (_, i) => ({
    op: "put" as const,
    key: `/${i}`,
    value: new Blob(["x"]),
  }));
  await expect(stage.vlinder.kv.batch(many)).rejects.toMatchObject({ code: "too_large" });
  expect(stage.responder.received).toEqual([]);
});

test("other bytes than the hash says are told, when all were read", async () => {
  const of = { hash: sha256(LARGE), size: LARGE.length, state: sha256("state") };
  const wrong = Buffer.from(LARGE);
  wrong[3_000_000] = 0;
  const given = (bytes: Buffer): StoredValue =>
    new StoredValue(of, async ({ offset, length }) => ({
      ...of,
      offset,
      bytes: bytes.subarray(offset, offset + length),
    }));
  await expect(given(wrong).bytes()).rejects.toMatchObject({ code: "internal" });
  await expect(given(LARGE.subarray(0, 4_000_000)).bytes()).rejects.toMatchObject({ code: "internal" });
  expect(sha256(await given(LARGE).bytes())).toBe(of.hash);
  // A part of it can't be checked here: the daemon checks each chunk.
  expect(await given(wrong).bytes({ start: 0, end: 10 })).toHaveLength(10);
});
