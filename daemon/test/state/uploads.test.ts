import { type Hash, LIMITS, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { valueObjects } from "../../src/state/value-cutter.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { openEngine, op, type Opened } from "./harness.ts";
import { noise } from "./property.ts";
import { FaultyObjects } from "./storage-faults.ts";

const PART = 300_000;

async function send(engine: StateEngine, id: string, bytes: Uint8Array, hash = sha256(bytes)): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += PART) {
    const part = bytes.subarray(offset, offset + PART);
    const last = offset + PART >= bytes.length;
    await engine.uploads.put(id, { offset, bytes: part, last, ...(last ? { hash } : {}) });
  }
}

function put(engine: StateEngine, key: string, upload: string, id?: string) {
  const ops = [{ key: parseKey(key), value: { upload } }];
  return engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops }, id);
}

async function valueOf(engine: StateEngine, key: string): Promise<Uint8Array | null> {
  const entry = await (await engine.stateOf()).get("kv", parseKey(key));
  return entry === null ? null : await engine.value(entry.hash, entry.size);
}

const LARGE = noise(1, 3_000_000);
const opened: Opened[] = [];
const open = async (options: Parameters<typeof openEngine>[0] = {}): Promise<Opened> => {
  const one = await openEngine(options);
  opened.push(one);
  return one;
};
afterEach(async () => {
  vi.useRealTimers();
  for (const { engine } of opened.splice(0)) await engine.close();
});

describe("an upload", () => {
  test.each([0, 1, 65_536, 65_537, 3_000_000])("brings a value of %i bytes, which a put commits", async (length) => {
    const { engine } = await open();
    const bytes = LARGE.subarray(0, length);
    if (length === 0) await engine.uploads.put("u", { offset: 0, bytes, last: true });
    else await send(engine, "u", bytes);
    expect(await valueOf(engine, "/big")).toBeNull();
    const reply = await put(engine, "/big", "u");
    expect(reply.hashes).toEqual([sha256(bytes)]);
    expect(Buffer.compare((await valueOf(engine, "/big")) as Uint8Array, bytes)).toBe(0);
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("takes parts that come again, overlap, and are sent all at once", async () => {
    const { engine } = await open();
    const parts = [0, 500_000, 400_000, 0, 1_000_000, 900_000].map((offset) => ({
      offset,
      bytes: LARGE.subarray(offset, offset + 500_000),
    }));
    const replies = await Promise.all(parts.map((part) => engine.uploads.put("u", part)));
    expect(replies.map(({ received }) => received)).toEqual([500_000, 1e6, 1e6, 1e6, 1.5e6, 1.5e6]);
    const last = { offset: 1_500_000, bytes: LARGE.subarray(1_500_000, 1_500_001), last: true };
    const ends = await Promise.all([last, last].map((part) => engine.uploads.put("u", part)));
    expect(ends.map(({ value }) => value?.hash)).toEqual([1, 2].map(() => sha256(LARGE.subarray(0, 1_500_001))));
    await put(engine, "/big", "u");
    expect(Buffer.compare((await valueOf(engine, "/big")) as Uint8Array, LARGE.subarray(0, 1_500_001))).toBe(0);
  });

  test("refuses gaps, what comes behind its end, and puts before it is whole", async () => {
    const { engine } = await open();
    const { uploads } = engine;
    const part = (offset: number, last = false) => uploads.put("u", { offset, bytes: LARGE.subarray(0, 10), last });
    await expect(part(5)).rejects.toMatchObject({ code: "not_found", details: { upload: "u" } });
    await part(0);
    await expect(part(11)).rejects.toMatchObject({ code: "conflict", details: { received: 10 } });
    await expect(put(engine, "/k", "u")).rejects.toMatchObject({ code: "conflict", details: { upload: "u" } });
    await part(10, true);
    await expect(part(20)).rejects.toMatchObject({ code: "conflict", details: { size: 20 } });
    await expect(part(0, true)).resolves.toMatchObject({ received: 20 });
    await expect(put(engine, "/k", "other")).rejects.toMatchObject({ code: "not_found" });
    await expect(uploads.put("big", { offset: LIMITS.uploadBytes, bytes: LARGE })).rejects.toMatchObject({
      code: "not_found",
    });
  });

  test("whose bytes are not those that were meant is gone", async () => {
    const { engine } = await open();
    await expect(send(engine, "u", LARGE, sha256("other"))).rejects.toMatchObject({ code: "invalid" });
    await expect(put(engine, "/k", "u")).rejects.toMatchObject({ code: "not_found" });
    expect(await valueOf(engine, "/k")).toBeNull();
  });

  test("shares a commit with other changes, and can be put under several keys", async () => {
    const { engine } = await open();
    await send(engine, "u", LARGE);
    const named = (key: string) => ({ key: parseKey(key), value: { upload: "u" } });
    const ops = [named("/a"), op("/small", "1"), named("/b"), op("/gone", null)];
    const reply = await engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops });
    expect(reply.hashes).toEqual([sha256(LARGE), sha256("1"), sha256(LARGE), null]);
    await expect(
      engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [{ ...named("/a"), expect: null }] }),
    ).rejects.toMatchObject({ code: "conflict" });
  });

  test("a put that is repeated by its id gets the first reply, also when the upload is gone", async () => {
    const { engine } = await open();
    await send(engine, "u", LARGE);
    const first = await put(engine, "/big", "u", "id-1");
    engine.uploads.drop("u");
    expect(await put(engine, "/big", "u", "id-1")).toEqual(first);
    await expect(put(engine, "/big", "v", "id-1")).rejects.toMatchObject({ code: "conflict" });
    await expect(put(engine, "/big", sha256(LARGE), "id-1")).rejects.toMatchObject({ code: "conflict" });
  });
});

describe("limits", () => {
  test("so many uploads at once; those that were put make room", async () => {
    const { engine } = await open();
    const begin = (id: string, last = false) =>
      engine.uploads.put(id, { offset: 0, bytes: LARGE.subarray(0, 9), last });
    for (let i = 0; i < LIMITS.uploads; i++) await begin(`u${i}`, i === 3);
    await expect(begin("more")).rejects.toMatchObject({ code: "unavailable", retryable: true });
    await put(engine, "/k", "u3");
    await begin("more");
    await expect(begin("one too many")).rejects.toMatchObject({ code: "unavailable" });
    expect(engine.uploads.drop("more")).toBe(true);
    expect(engine.uploads.drop("more")).toBe(false);
    await begin("again");
  });

  test("so many bytes that wait to be worked on", async () => {
    const storage = new FaultyObjects();
    const { engine } = await open({ storage });
    storage.hold();
    const parts = Array.from({ length: 40 }, (_, i) =>
      engine.uploads.put("u", { offset: i * PART, bytes: noise(i, PART) }).then(
        () => "taken",
        (error: { code: string; retryable: boolean }) => `${error.code} ${error.retryable}`,
      ),
    );
    setTimeout(() => storage.release(), 50);
    const outcomes = await Promise.all(parts);
    expect(outcomes.filter((one) => one === "taken")).toHaveLength(Math.floor(LIMITS.uploadWindow / PART));
    expect(new Set(outcomes)).toEqual(new Set(["taken", "unavailable true"]));
    // What was refused can come now.
    const at = outcomes.indexOf("unavailable true");
    await engine.uploads.put("u", { offset: at * PART, bytes: noise(at, PART) });
  });

  test("an hour without a part", async () => {
    const { engine, clock } = await open();
    await send(engine, "whole", LARGE);
    await engine.uploads.put("half", { offset: 0, bytes: LARGE.subarray(0, 100_000) });
    expect(new Set(engine.uploads.reached()).size).toBeGreaterThan(100);
    clock.tick(LIMITS.uploadIdle - 1);
    await engine.uploads.put("half", { offset: 100_000, bytes: LARGE.subarray(100_000, 200_000) });
    clock.tick(2);
    await expect(put(engine, "/k", "whole")).rejects.toMatchObject({ code: "not_found" });
    await engine.uploads.put("half", { offset: 200_000, bytes: LARGE.subarray(200_000, 200_001), last: true });
    await put(engine, "/k", "half");
    clock.tick(LIMITS.uploadIdle + 1);
    expect([...engine.uploads.reached()]).toEqual([]);
  });
});

test("what uploads hold is what they have stored, from before it is there", async () => {
  const storage = new FaultyObjects();
  const { engine } = await open({ storage });
  const held: boolean[] = [];
  storage.fails = (_apply, { objects }) => {
    const reached = new Set(engine.uploads.reached());
    if (objects.some(({ kind }) => kind === "chunk")) held.push(objects.every(({ hash }) => reached.has(hash)));
    return false;
  };
  await send(engine, "u", LARGE);
  expect(held.length).toBeGreaterThan(1);
  expect(held).not.toContain(false);
  const reached = new Set<Hash>(engine.uploads.reached());
  for (const kind of ["chunk", "list"] as const) {
    const stored = await storage.scan(kind, null, 10_000);
    expect(stored.every(({ hash }) => reached.has(hash))).toBe(true);
  }
  engine.uploads.drop("u");
  expect([...engine.uploads.reached()]).toEqual([]);
});

test("what a put under way names is held, also when it is dropped meanwhile", async () => {
  const storage = new FaultyObjects();
  const { engine } = await open({ storage });
  await send(engine, "u", LARGE);
  storage.hold();
  const putting = put(engine, "/big", "u");
  // Until it is computed, and waits for the disk.
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(engine.uploads.drop("u")).toBe(true);
  expect(new Set(engine.uploads.reached())).toContain(sha256(LARGE));
  storage.release();
  await putting;
  expect([...engine.uploads.reached()]).toEqual([]);
  await expect(put(engine, "/again", "u")).rejects.toMatchObject({ code: "not_found" });
});

test("a storage that fails for a while: the same part goes through later, and nothing is lost", async () => {
  const storage = new FaultyObjects();
  const { engine } = await open({ storage });
  storage.fails = (apply) => apply % 3 !== 0;
  let refused = 0;
  for (let offset = 0; offset < LARGE.length;) {
    const bytes = LARGE.subarray(offset, offset + PART);
    try {
      await engine.uploads.put("u", { offset, bytes, last: offset + PART >= LARGE.length });
      offset += PART;
    } catch (error) {
      expect(error).toMatchObject({ code: "unavailable", retryable: true });
      if (++refused > 50) throw error;
    }
  }
  expect(storage.fired).toBeGreaterThan(2);
  expect(refused).toBeGreaterThan(1);
  storage.fails = () => false;
  await put(engine, "/big", "u");
  expect(Buffer.compare((await valueOf(engine, "/big")) as Uint8Array, LARGE)).toBe(0);
  expect((await engine.verify()).damage).toEqual([]);
});

test("after a restart an upload is not known, and what it had stored is shared with the next one", async () => {
  const storage = new MemoryObjects("memory://kept");
  storage.close = async () => {};
  const before = await openEngine({ storage });
  for (const offset of [0, 1_000_000, 2_000_000]) {
    await before.engine.uploads.put("u", { offset, bytes: LARGE.subarray(offset, offset + 1_000_000) });
  }
  await before.engine.close();
  const { engine } = await open({ storage });
  await expect(engine.uploads.put("u", { offset: 2_500_000, bytes: LARGE.subarray(2_500_000) })).rejects.toMatchObject({
    code: "not_found",
    details: { upload: "u" },
  });
  const { chunk } = (await storage.usage()).counts;
  expect(chunk).toBeGreaterThan(50);
  await send(engine, "u", LARGE);
  await put(engine, "/big", "u");
  const whole = (await storage.usage()).counts.chunk;
  // Chunks of two ways to cut the same bytes would be twice as many.
  expect(whole).toBe(valueObjects(sha256(LARGE), LARGE).filter(({ kind }) => kind === "chunk").length);
});
