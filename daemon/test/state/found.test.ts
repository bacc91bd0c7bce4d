import { type Hash, LIMITS, MAIN, sha256 } from "@vlinder/protocol";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { Objects } from "../../src/state/objects.ts";
import { ValueCache } from "../../src/state/value-cache.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
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

test("what was read lately is found at once, at the head and after a restart; a past state is found too", async () => {
  const { engine, storage } = await openEngine();
  const first = await put(engine, { "/a": "1", "/b": "other" });
  const state = await put(engine, { "/a": "2" });
  const expected = { state, value: { hash: sha256("2"), size: 1, bytes: Buffer.from("2") } };
  expect(engine.find(key("/a"))).toBeInstanceOf(Promise);
  expect(await engine.find(key("/a"))).toEqual(expected);
  expect(engine.find(key("/a"))).toEqual(expected);
  expect(engine.find(key("/none"))).toEqual({ state, value: null });
  const past = await engine.find(key("/a"), MAIN, first.slice(0, 10));
  expect(past).toMatchObject({ state: first, value: { bytes: Buffer.from("1") } });

  const again = keep((await openEngine({ storage, contract: null })).engine);
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

test("caches hold within one bound what is used, apart from each other", () => {
  const [one, other] = [keep(new ValueCache()), keep(new ValueCache())];
  const value = new Uint8Array(10_000);
  const used = sha256("used");
  one.set(used, value);
  for (let i = 0; i < 4000; i++) {
    other.set(sha256(`${i}`), value);
    expect(one.get(used)?.buffer).toBe(value.buffer);
  }
  const held = Array.from({ length: 4000 }, (_, i) => other.get(sha256(`${i}`))).filter((bytes) => bytes !== undefined);
  expect(held.length).toBeGreaterThan(400);
  expect(held.length * value.length).toBeLessThan(32 * 1024 * 1024);
  expect(other.get(used)).toBeUndefined();
  one.set(sha256("large"), new Uint8Array(100_000));
  expect(one.get(sha256("large"))).toBeUndefined();
  one.close();
  one.set(used, value);
  expect(one.get(used)).toBeUndefined();
});
