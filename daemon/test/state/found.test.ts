import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, LIMITS, MAIN, sha256 } from "@vlinder/protocol";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { Objects } from "../../src/state/objects.ts";
import { ValueCache } from "../../src/state/value-cache.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { dice } from "../sync/noise.ts";
import { BACKENDS } from "./backends.ts";
import { key, op, openEngine, put } from "./harness.ts";

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

function keep<T extends { close(): unknown }>(one: T): T {
  opened.push(one);
  return one;
}

test("what was written or read lately is found at once, at the head and after a restart; a past state is found too", async () => {
  const { engine, storage } = await openEngine();
  const first = await put(engine, { "/a": "1", "/b": "other" });
  const state = await put(engine, { "/a": "2" });
  const expected = { state, value: { hash: sha256("2"), size: 1, bytes: Buffer.from("2") } };
  // At once, as it was written just now.
  expect(engine.find(key("/a"))).toEqual(expected);
  expect(engine.find(key("/none"))).toEqual({ state, value: null });
  const past = await engine.find(key("/a"), MAIN, first.slice(0, 10));
  expect(past).toMatchObject({ state: first, value: { bytes: Buffer.from("1") } });

  const again = keep((await openEngine({ storage, contract: null })).engine);
  expect(again.find(key("/a"))).toBeInstanceOf(Promise);
  expect(await again.find(key("/a"))).toEqual(expected);
  expect(again.find(key("/a"))).toEqual(expected);
  // What is found at once is what is durable now.
  const next = await put(again, { "/a": "3" });
  expect(await again.find(key("/a"))).toMatchObject({ state: next, value: { bytes: Buffer.from("3") } });
});

test("where the storage reads at once, so is found what was never read before", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const { engine } = await openEngine({ storage: await place.open() });
  onTestFinished(() => engine.close());
  const state = await put(engine, { "/a": "1" });
  const found = { state, value: { hash: sha256("1"), size: 1, bytes: Buffer.from("1") } };
  expect(engine.find(key("/a"))).toEqual(found);
  expect(engine.find(key("/none"))).toEqual({ state, value: null });
});

test("a past state is found without its trees as it is with them, across stored trees, deletions, rewinds and merges", async () => {
  const { engine, storage } = await openEngine();
  const states = [];
  for (let i = 0; i < 150; i++) states.push(await put(engine, { [`/${i % 7}`]: i % 5 === 0 ? null : `${i}` }));
  await engine.fork("fix" as typeof MAIN, states[40] as Hash);
  await engine.rewind(MAIN, states[100] as Hash);
  const forked = await engine.write({
    space: "kv",
    kind: "kv.put",
    ops: [op("/3", "forked")],
    branch: "fix" as typeof MAIN,
  });
  await put(engine, { "/4": "after the rewind" });
  await engine.merge(MAIN, forked.state);
  await put(engine, { "/5": "after the merge" });
  const again = keep((await openEngine({ storage, contract: null })).engine);
  for await (const { hash } of engine.log(engine.branch(MAIN).head)) {
    const view = await engine.view(hash);
    for (let k = 0; k < 7; k++) {
      const entry = await view.get("kv", key(`/${k}`));
      const { state, value } = await again.find(key(`/${k}`), MAIN, hash);
      expect([state, value?.hash ?? null, value?.size]).toEqual([hash, entry?.hash ?? null, entry?.size]);
    }
  }
});

test("what no reply holds is found without its bytes", async () => {
  const { engine } = await openEngine();
  keep(engine);
  const large = "x".repeat(LIMITS.valueBytes + 1);
  const state = await put(engine, { "/large": large, "/most": large.slice(1) });
  expect(engine.find(key("/large"))).toEqual({
    state,
    value: { hash: sha256(large), size: large.length, bytes: null },
  });
  expect((await engine.find(key("/most"))).value?.bytes).toHaveLength(LIMITS.valueBytes);
});

test("a branch that is not there is an error as ever", async () => {
  const { engine } = await openEngine();
  keep(engine);
  expect(() => engine.find(key("/a"), "nowhere" as typeof MAIN)).toThrow("nowhere");
  await expect(engine.find(key("/a"), MAIN, "00000000")).rejects.toMatchObject({ code: "not_found" });
});

test("a value that is removed from the storage can't be read any more, once it is forgotten", async () => {
  const storage = new MemoryObjects("memory://forget");
  const objects = keep(new Objects(storage));
  const [bytes, hash] = [Buffer.from("secret"), sha256("secret")];
  await storage.apply({ objects: [{ kind: "value", hash, bytes }], branches: [], replies: [] });
  await objects.askedValue(hash, bytes.length);
  await storage.remove("value", [hash]);
  expect(objects.askedValue(hash, bytes.length)).toEqual(bytes);
  objects.forget("value", [hash]);
  await expect(objects.askedValue(hash, bytes.length)).rejects.toThrow("missing");
});

test("what lies beside a value that is read is there without another look at the file; what is damaged of it is not believed", async () => {
  const place = await BACKENDS["sqlite"]!();
  onTestFinished(() => place.dispose());
  const storage = await place.open();
  const objects = keep(new Objects(storage));
  onTestFinished(() => storage.close());
  const values = Array.from({ length: 8 }, (_, i) => Buffer.from(`value ${i} `.repeat(20)));
  const hashes = values.map((value) => sha256(value));
  // One of them was damaged on its way to the disk.
  const stored = values.map((value, i) => ({
    kind: "value" as const,
    hash: hashes[i]!,
    bytes: i === 5 ? values[6]! : value,
  }));
  await storage.apply({ objects: stored, branches: [], replies: [] });
  const reads: Hash[] = [];
  const readNow = storage.readNow!.bind(storage);
  storage.readNow = (kind, hash, ...more) => (reads.push(hash), readNow(kind, hash, ...more));
  expect(objects.askedValue(hashes[3]!, values[3]!.length)).toEqual(values[3]);
  // It is taken in behind the answer.
  await nextTurn();
  for (const i of [0, 1, 2, 4, 6, 7]) expect(objects.askedValue(hashes[i]!, values[i]!.length)).toEqual(values[i]);
  expect(reads).toEqual([hashes[3]]);
  expect(() => objects.askedValue(hashes[5]!, values[5]!.length)).toThrow("damaged");
  expect(reads).toEqual([hashes[3], hashes[5]]);
});

test("caches hold within one bound what is used, apart from each other", () => {
  const [one, other] = [keep(new ValueCache()), keep(new ValueCache())];
  const value = Buffer.alloc(10_000, 7);
  const used = sha256("used");
  one.set(used, value);
  for (let i = 0; i < 8000; i++) {
    other.set(sha256(`${i}`), value);
    if (i % 100 === 0) expect(one.get(used)).toEqual(value);
  }
  const heldOf = (names: number): number =>
    Array.from({ length: names }, (_, i) => other.get(sha256(`${i}`))).filter((bytes) => bytes !== undefined).length;
  // Nobody asks for what was written: it has the least room.
  expect(heldOf(8000) * value.length).toBeGreaterThan(1.5 * 1024 * 1024);
  expect(heldOf(8000) * value.length).toBeLessThan(3 * 1024 * 1024);
  const roll = dice(118);
  for (let i = 0; i < 60_000; i++) {
    const hash = sha256(`${roll(5000)}`);
    if (other.get(hash) === undefined) other.set(hash, value);
  }
  expect(heldOf(5000) * value.length).toBeGreaterThan(30 * 1024 * 1024);
  expect(heldOf(5000) * value.length).toBeLessThan(40 * 1024 * 1024);
  expect(other.get(used)).toBeUndefined();
  one.set(sha256("large"), new Uint8Array(100_000));
  expect(one.get(sha256("large"))).toBeUndefined();
  one.close();
  one.set(used, value);
  expect(one.get(used)).toBeUndefined();
});

test("a cache gives what was put, whatever is taken out, changed or put between", () => {
  const model = new Map<Hash, Buffer>();
  const cache = keep(new ValueCache());
  const roll = dice(117);
  let hits = 0;
  for (let i = 0; i < 200_000; i++) {
    const hash = sha256(`${roll(30_000)}`);
    const what = roll(100);
    if (what < 5) {
      cache.delete(hash);
      model.delete(hash);
    } else if (what < 50) {
      const bytes = model.get(hash) ?? Buffer.alloc(roll(2000), hash);
      cache.set(hash, bytes);
      model.set(hash, Buffer.from(bytes));
      // What the caller does to its bytes afterwards is its own affair.
      bytes.fill(0);
      bytes.set(model.get(hash)!);
    } else {
      const got = cache.get(hash);
      if (got === undefined) continue;
      hits++;
      if (!model.get(hash)?.equals(got)) throw new Error(`step ${i}: ${hash} is not what was put`);
      got.fill(1);
    }
  }
  expect(hits).toBeGreaterThan(50_000);
});
