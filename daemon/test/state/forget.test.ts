import { type BranchName, canonicalJson, encodeCommit, type Hash, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { afterEach, describe, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { valueObjects } from "../../src/state/value-cutter.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { contract, op } from "./harness.ts";
import { emptyMachine, machine, objectsFor, send } from "./machines.ts";
import { noise } from "./property.ts";
import { codeOf, newHome, openHome, put, stateAt } from "./retention-harness.ts";

const opened: StateEngine[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function open() {
  const home = newHome();
  const engine = await openHome(home, {});
  opened.push(engine);
  return { engine, ...home };
}

const forget = (engine: StateEngine, key: string, run = true) =>
  engine.retention.forget({ key: parseKey(key), isPrefix: key.endsWith("/") }, run);

const hashOf = (value: string | Uint8Array): Hash => sha256(typeof value === "string" ? Buffer.from(value) : value);

async function isThere(storage: ObjectStorage, value: string | Uint8Array): Promise<boolean> {
  const [bytes] = await storage.read("value", [hashOf(value)]);
  const [list] = await storage.read("list", [hashOf(value)]);
  return bytes != null || list != null;
}

describe("forget", () => {
  test("erases what a key ever held, on every branch; the rest stays, and reads say what happened", async () => {
    const { engine, storage } = await open();
    const first = await put(engine, "/people/ann", "ann, first");
    await engine.fork("side" as BranchName, first);
    await put(engine, "/people/ann", "ann, on the side", "side" as BranchName);
    await put(engine, "/people/ann", "ann, second");
    const before = await put(engine, "/people/bob", "bob");

    expect(await forget(engine, "/people/ann", false)).toMatchObject({ state: null, values: 3, bytes: 37, keys: 1 });
    expect(await isThere(storage, "ann, first")).toBe(true);
    const report = await forget(engine, "/people/ann");
    expect(report).toMatchObject({ values: 3, bytes: 37, keys: 1, kept: [] });
    for (const value of ["ann, first", "ann, second", "ann, on the side"]) {
      expect(await isThere(storage, value)).toBe(false);
      expect(await codeOf(engine.requiredValue(hashOf(value), value.length))).toBe("erased");
    }
    expect(await stateAt(engine, before)).toEqual({ "/people/ann": "erased", "/people/bob": hashOf("bob") });
    expect(await stateAt(engine, first)).toEqual({ "/people/ann": "erased" });
    expect((await engine.verify()).damage).toEqual([]);
    const { event, parents } = await engine.commit(report.state as Hash);
    expect(event.kind).toBe("erase");
    expect(event.info).toEqual({ heads: [engine.branch("side" as BranchName).head] });
    expect(parents).toEqual([before]);
    // Nothing is left, and that is no error; a key that never was is one.
    expect(await forget(engine, "/people/ann")).toMatchObject({ state: null, values: 0 });
    expect(await codeOf(forget(engine, "/nobody"))).toBe("not_found");
    // The list stays when all else is collected.
    await engine.retention.collect(true);
    expect(await codeOf(engine.requiredValue(hashOf("ann, first"), 10))).toBe("erased");
  });

  test("erases what was put on a branch that is deleted since, here and where it is pulled", async () => {
    const a = await machine(1, contract());
    opened.push(a.engine);
    const first = await put(a.engine, "/x", "1");
    await a.engine.fork("side" as BranchName, first);
    await put(a.engine, "/people/ann", "ann, on the side", "side" as BranchName);
    await a.engine.deleteBranch("side" as BranchName);
    const b = await emptyMachine(2);
    opened.push(b.engine);
    await send(a.engine, b.engine);
    expect(await isThere(b.storage, "ann, on the side")).toBe(true);

    expect(await forget(a.engine, "/people/ann")).toMatchObject({ values: 1, kept: [] });
    await send(a.engine, b.engine);
    await b.engine.retention.settle();
    for (const { storage } of [a, b]) expect(await isThere(storage, "ann, on the side")).toBe(false);
  });

  test("a value that another key has stays, and goes with that one", async () => {
    const { engine, storage } = await open();
    await put(engine, "/a", "shared");
    await put(engine, "/b", "shared");
    await put(engine, "/b", "other");
    const report = await forget(engine, "/a");
    expect(report).toMatchObject({ values: 0, kept: [{ key: "/b", hash: hashOf("shared") }] });
    expect(await isThere(storage, "shared")).toBe(true);
    expect(await forget(engine, "/b")).toMatchObject({ values: 2, kept: [] });
    expect(await isThere(storage, "shared")).toBe(false);
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("putting the same bytes again brings them back, for good", async () => {
    const { engine, storage } = await open();
    const old = await put(engine, "/a", "again");
    await forget(engine, "/a");
    await put(engine, "/a", "again");
    expect(await stateAt(engine, old)).toEqual({ "/a": hashOf("again") });
    await put(engine, "/x/1", "1");
    await forget(engine, "/x/");
    await engine.retention.settle();
    expect(await isThere(storage, "again")).toBe(true);
    expect(await forget(engine, "/a")).toMatchObject({ values: 1 });
    expect(await isThere(storage, "again")).toBe(false);
  });

  test("chunks that another value has too stay with it", async () => {
    const { engine, storage } = await open();
    const large = noise(1, 300_000);
    const other = Buffer.concat([large, noise(2, 50_000)]);
    await put(engine, "/large", large);
    const head = await put(engine, "/other", other);
    const before = (await storage.usage()).counts.chunk;
    await forget(engine, "/large");
    expect(await isThere(storage, large)).toBe(false);
    const after = (await storage.usage()).counts.chunk;
    expect(after).toBeLessThan(before);
    expect(after).toBeGreaterThan(before / 2);
    expect(await stateAt(engine, head)).toEqual({ "/large": "erased", "/other": hashOf(other) });
    expect((await engine.verify()).damage).toEqual([]);
    await forget(engine, "/other");
    expect((await storage.usage()).counts.chunk).toBe(0);
  });

  test("chunks that only an upload has which nobody put go with it", async () => {
    const { engine, storage } = await open();
    const large = noise(1, 300_000);
    const tailed = (n: number): Uint8Array => Buffer.concat([large, noise(n, 50_000)]);
    await put(engine, "/large", large);
    await engine.uploads.put("dropped", { offset: 0, bytes: tailed(2), last: true });
    await engine.uploads.put("open", { offset: 0, bytes: tailed(3), last: true });
    engine.uploads.drop("dropped");
    await forget(engine, "/large");
    expect(await isThere(storage, tailed(2))).toBe(false);
    const value = { upload: "open" };
    const ops = [{ key: parseKey("/open"), value }];
    await engine.write({ space: "kv", kind: "kv.put", branch: MAIN, ops });
    expect(await stateAt(engine, engine.branch(MAIN).head)).toEqual({ "/large": "erased", "/open": hashOf(tailed(3)) });
    expect((await engine.verify()).damage).toEqual([]);

    await put(engine, "/large", large);
    await forget(engine, "/open");
    await engine.uploads.put("again", { offset: 0, bytes: tailed(4), last: true });
    engine.uploads.drop("again");
    await forget(engine, "/large");
    for (const { hash } of valueObjects(hashOf(large), large)) {
      expect(await storage.read("chunk", [hash])).toEqual([null]);
    }
    // What is put in parts that are gone brings them along.
    await put(engine, "/large", tailed(2));
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("what a quarantine holds goes too, so that an undo does not bring it back", async () => {
    const { storage, shelf, clock } = newHome();
    const engine = await openHome({ storage, shelf, clock }, { states: "1d" });
    opened.push(engine);
    const old = await put(engine, "/a", "in quarantine");
    await put(engine, "/a", "now");
    clock.tick(2 * 86_400_000);
    await put(engine, "/b", "1");
    await engine.retention.collect(true);
    const [name] = await shelf.list();
    const quarantine = await shelf.open(name as string);
    expect(await isThere(quarantine, "in quarantine")).toBe(true);
    await forget(engine, "/a");
    expect(await isThere(quarantine, "in quarantine")).toBe(false);
    await engine.retention.undo();
    expect(await stateAt(engine, old)).toEqual({ "/a": "erased" });
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("also what was erased once, came back, and was put aside", async () => {
    const home = newHome();
    const engine = await openHome(home, { states: "1d" });
    opened.push(engine);
    const large = noise(3, 200_000);
    await put(engine, "/a/small", "secret");
    await put(engine, "/a/large", large);
    await forget(engine, "/a/");
    await put(engine, "/a/small", "secret");
    await put(engine, "/a/large", large);
    for (const name of ["/a/small", "/a/large"]) await put(engine, name, null);
    home.clock.tick(2 * 86_400_000);
    await put(engine, "/b", "1");
    await engine.retention.collect(true);
    expect(await isThere(home.storage, "secret")).toBe(false);
    expect(await forget(engine, "/a/")).toMatchObject({ values: 2, kept: [] });
    await engine.retention.undo();
    for (const value of ["secret", large]) expect(await isThere(home.storage, value)).toBe(false);
    expect((await engine.verify()).damage).toEqual([]);
    expect(await forget(engine, "/a/")).toMatchObject({ state: null, values: 0 });
  });

  test("vectors are told of with their keys", async () => {
    const told: unknown[] = [];
    const engine = await openHome(newHome(), {}, { onErased: async (rows) => void told.push(...rows) });
    opened.push(engine);
    const { key, value } = op("/v", "a record");
    await engine.write({ space: "vectors", kind: "vector.put", branch: MAIN, ops: [{ key, value }], dimension: 2 });
    await forget(engine, "/v");
    expect(told).toEqual([{ key: "/v", hash: hashOf("a record") }]);
  });

  test("puts of the value meanwhile are never lost", async () => {
    for (let round = 0; round < 15; round++) {
      const { engine, storage } = await open();
      for (let i = 0; i < 20; i++) await put(engine, `/a/${i % 3}`, `value ${i}`);
      let done = false;
      const forgetting = forget(engine, "/a/").finally(() => (done = true));
      const last = new Map<string, string>();
      for (let i = round; !done; i++) {
        const at = [`/new/${i % 5}`, `value ${i % 20}`] as const;
        await put(engine, ...at);
        last.set(...at);
      }
      await forgetting;
      const state = await stateAt(engine, engine.branch(MAIN).head);
      for (const [key, value] of last) {
        expect(state[key]).toBe(hashOf(value));
        expect(await isThere(storage, value)).toBe(true);
      }
      expect((await engine.verify()).damage).toEqual([]);
    }
  }, 30_000);
});

describe("forget, on other machines", () => {
  test("is carried out by who pulls it, and judged there again", async () => {
    const a = await machine(1, contract());
    const b = await machine(2, contract());
    opened.push(a.engine, b.engine);
    await put(a.engine, "/secret", "everywhere");
    await put(a.engine, "/secret", "only at a");
    await send(a.engine, b.engine);
    await put(b.engine, "/mine", "everywhere");
    await forget(a.engine, "/secret");
    await send(a.engine, b.engine);
    await b.engine.retention.settle();
    expect(await isThere(b.storage, "only at a")).toBe(false);
    // Another key needs it there: it stays, and comes back where it was erased.
    expect(await isThere(b.storage, "everywhere")).toBe(true);
    expect((await b.engine.verify()).damage).toEqual([]);
    await send(b.engine, a.engine);
    expect(await isThere(a.storage, "everywhere")).toBe(true);
    expect((await stateAt(a.engine, a.engine.branch(MAIN).head))["/mine"]).toBe(hashOf("everywhere"));
    expect((await a.engine.verify()).damage).toEqual([]);
  });

  test("a new machine takes a history in without the values that were erased", async () => {
    const a = await machine(1, contract());
    const c = await emptyMachine(3);
    opened.push(a.engine, c.engine);
    await put(a.engine, "/secret", "gone");
    await put(a.engine, "/large", noise(5, 200_000));
    await put(a.engine, "/other", "stays");
    await forget(a.engine, "/secret");
    await forget(a.engine, "/large");
    const head = a.engine.branch(MAIN).head;
    const objects = await objectsFor(a.engine, [head]);
    expect(objects.some(({ hash }) => hash === hashOf("gone"))).toBe(false);
    await c.engine.receive(objects);
    await c.engine.integrate(a.engine.branches());
    expect(await stateAt(c.engine, head)).toEqual({
      "/secret": "erased",
      "/large": "erased",
      "/other": hashOf("stays"),
    });
    expect((await c.engine.verify()).damage).toEqual([]);
    // Whoever still has the bytes and sends them with the old commits: they go again.
    const old = Buffer.from("gone");
    await c.engine.receive([{ kind: "value", hash: hashOf(old), bytes: old }]);
    await c.engine.retention.settle();
    expect(await isThere(c.storage, "gone")).toBe(false);
  });

  test("a commit that lacks a value which nobody erased is refused", async () => {
    const a = await machine(1, contract());
    const c = await emptyMachine(3);
    opened.push(a.engine, c.engine);
    await put(a.engine, "/a", "needed");
    const objects = await objectsFor(a.engine, [a.engine.branch(MAIN).head]);
    const lacking = objects.filter(({ hash }) => hash !== hashOf("needed"));
    await expect(c.engine.receive(lacking)).rejects.toMatchObject({
      code: "invalid",
      details: { missing: { kind: "value", hash: hashOf("needed") } },
    });
  });

  test("a list of erased values in another form is refused", async () => {
    const a = await machine(1, contract());
    const c = await emptyMachine(3);
    opened.push(a.engine, c.engine);
    await put(a.engine, "/a", "x");
    const { state } = await forget(a.engine, "/a");
    const commit = await a.engine.commit(state as Hash);
    const [list] = (commit.event.values as Record<string, readonly [Hash, number]>)["erased"] as readonly [
      Hash,
      number,
    ];
    for (const bad of [{}, [1], [{ hash: list, size: -1 }], [{ hash: list, key: "/a", size: 1 }]]) {
      const bytes = Buffer.from(canonicalJson(bad as never));
      const forged = {
        ...commit,
        event: { ...commit.event, values: { erased: [sha256(bytes), bytes.length] as const } },
      };
      const text = Buffer.from(encodeCommit(forged));
      const objects = [
        ...(await objectsFor(a.engine, [commit.parents[0] as Hash])),
        { kind: "value" as const, hash: sha256(bytes), bytes },
        { kind: "commit" as const, hash: sha256(text), bytes: text },
      ];
      expect(await codeOf(c.engine.receive(objects))).toBe("invalid");
    }
  });
});
