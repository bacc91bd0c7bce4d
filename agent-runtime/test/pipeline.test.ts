import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Stage } from "./support.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterAll(() => stage[Symbol.asyncDispose]());
beforeEach(() => {
  const { responder } = stage;
  responder.states.clear();
  responder.received.length = 0;
  responder.delay = () => 0;
  responder.operationFault = () => false;
  responder.replyBytes = 1000 * 1024;
});

test("what is asked for in one breath is one message; a lone operation is itself", async () => {
  const { kv } = stage.vlinder;
  await Promise.all(Array.from({ length: 1000 }, (_, i) => kv.put(`/${i}`, "x")));
  await kv.get("/0");
  expect(stage.responder.received.map(({ operation }) => operation)).toEqual(["kv.pipeline", "kv.get"]);
});

test("at most four messages with writes are on the way, and what comes meanwhile gathers", async () => {
  const { kv } = stage.vlinder;
  stage.responder.delay = () => 5;
  stage.responder.mostOpen = 0;
  const worker = async (name: number): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      // Not in step with the others, who would all travel in one message.
      await sleep(name % 7);
      await kv.put(`/${name}/${i}`, "x");
    }
  };
  await Promise.all(Array.from({ length: 64 }, (_, name) => worker(name)));
  expect(stage.responder.mostOpen).toBe(4);
  expect(stage.responder.state().head().kv.size).toBe(640);
  expect(stage.responder.received.length).toBeLessThan(240);
});

test("a read does not wait for the writes beside it, but for those of its own key", async () => {
  const { kv } = stage.vlinder;
  await kv.put("/a", "1");
  stage.responder.delay = () => 500;
  stage.responder.received.length = 0;
  const done: string[] = [];
  const note = (what: string) => (): void => void done.push(what);
  const writes = Promise.all(Array.from({ length: 10 }, (_, i) => kv.put(`/w/${i}`, "x"))).then(note("writes"));
  const own = kv.get("/w/3").then((value) => done.push(`own ${value?.text()}`));
  // They are there, and will take long.
  await expect.poll(() => stage.responder.received.length).toBeGreaterThan(0);
  stage.responder.delay = () => 0;
  await Promise.all([kv.get("/a").then(note("read a")), kv.get("/b").then(note("read b")), writes, own]);
  expect(done).toEqual(["read a", "read b", "writes", "own x"]);
});

test("messages stay under the server's limit, and every large value arrives", async () => {
  const { kv } = stage.vlinder;
  const values = Array.from({ length: 12 }, (_, i) => new Uint8Array(300_000).fill(i));
  await Promise.all(values.map((value, i) => kv.put(`/${i}`, value)));
  const read = await Promise.all(values.map((_, i) => kv.get(`/${i}`)));
  read.forEach((value, i) => expect(Buffer.compare(value?.bytes ?? Buffer.of(), values[i] as Uint8Array)).toBe(0));
});

test("reads that do not fit in one reply are asked for again, and the next ones are fewer", async () => {
  const { kv } = stage.vlinder;
  const keys = Array.from({ length: 300 }, (_, i) => `/${i}`);
  await Promise.all(keys.map((key) => kv.put(key, new Uint8Array(50_000))));
  stage.responder.received.length = 0;
  const values = await Promise.all(keys.map((key) => kv.get(key)));
  expect(values.every((value) => value?.size === 50_000)).toBe(true);
  expect(stage.responder.received.length).toBeLessThan(60);
});

test("one bad operation does not stop the others", async () => {
  const { kv } = stage.vlinder;
  const results = await Promise.allSettled([
    kv.put("/a", "1"),
    kv.put("", "no key"),
    kv.put("/b", "\ud800"),
    kv.put("/c", "2", { expect: null }),
    kv.get("/none"),
  ]);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled", "fulfilled"]);
});

/** What one caller does; keys are few, so that operations meet. */
const operation = fc.record({
  op: fc.constantFrom("put", "get", "delete", "batch"),
  key: fc.constantFrom("/a", "/b", "/c"),
  size: fc.constantFrom(0, 1, 40, 400),
  pause: fc.boolean(),
});

test("any interleaving gives what the same calls give one after the other, key by key", async () => {
  const { kv } = stage.vlinder;
  const { responder } = stage;
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 60 }), fc.infiniteStream(fc.nat(3)), async (calls, delays) => {
      responder.states.clear();
      responder.delay = () => delays.next().value ?? 0;
      // Small, so that reads often do not fit.
      responder.replyBytes = 100;
      const model = new Map<string, string>();
      const running: Promise<readonly [unknown, unknown]>[] = [];
      for (const [i, { op, key, size, pause }] of calls.entries()) {
        const text = `${i}`.padEnd(size, ".");
        const before = model.get(key) ?? null;
        if (op === "put") {
          model.set(key, text);
          running.push(kv.put(key, text).then(() => [null, null]));
        } else if (op === "batch") {
          for (const name of [key, "/b"]) model.set(name, text);
          const changes = [...new Set([key, "/b"])].map((name) => ({ op: "put" as const, key: name, value: text }));
          running.push(kv.batch(changes).then(() => [null, null]));
        } else if (op === "get") running.push(kv.get(key).then((value) => [value?.text() ?? null, before]));
        else running.push(kv.delete(key).then((deleted) => [deleted, before !== null], void model.delete(key)));
        if (pause) await new Promise((resolve) => setImmediate(resolve));
      }
      for (const [seen, expected] of await Promise.all(running)) expect(seen).toEqual(expected);
      const stored = [...responder.state().head().kv].map(([key, value]) => [key, Buffer.from(value).toString()]);
      expect(new Map(stored as [string, string][])).toEqual(model);
      expect(responder.violations).toEqual([]);
    }),
    { numRuns: 60, interruptAfterTimeLimit: 20_000 },
  );
});
