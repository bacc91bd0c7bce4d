import { type Hash, MAIN } from "@vlinder/protocol";
import { afterEach, describe, expect, test } from "vitest";
import type { StateEngine } from "../../../src/state/engine.ts";
import type { Word } from "../../../src/state/turns/effects.ts";
import { MemoryObjects } from "../../../src/storage/backends/memory.ts";
import type { ObjectStorage } from "../../../src/storage/object-storage.ts";
import { openEngine, put } from "../harness.ts";
import { FaultyObjects } from "../storage-faults.ts";

const opened: StateEngine[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function open(storage?: ObjectStorage): Promise<StateEngine> {
  const { engine } = await openEngine(storage === undefined ? {} : { storage });
  opened.push(engine);
  return engine;
}

async function begin(engine: StateEngine, retries?: string): Promise<string> {
  return (await engine.turns.begin({ branch: MAIN, ...(retries === undefined ? {} : { retries }) })).turn;
}

/** Begins an effect that is to be run. */
async function run(engine: StateEngine, turn: string, key = "mail"): Promise<Hash> {
  const reply = await engine.turns.effects.begin(turn, key);
  if (reply.status !== "run") throw new Error(`not run, but ${reply.status}`);
  return reply.begun;
}

function done(result?: string): Word & { readonly status: "done" } {
  return {
    status: "done",
    ...(result === undefined ? {} : { result: { bytes: Buffer.from(result), form: "json" as const } }),
  };
}

async function resultOf(engine: StateEngine, turn: string, key = "mail"): Promise<string | null> {
  const reply = await engine.turns.effects.begin(turn, key);
  if (reply.status !== "done") throw new Error(`not done, but ${reply.status}`);
  return reply.result === null ? null : Buffer.from(reply.result).toString();
}

async function statusOf(engine: StateEngine, key = "mail"): Promise<string[]> {
  return (await engine.turns.effects.list()).filter((one) => one.key === key).map(({ status }) => status);
}

describe("an effect", () => {
  test("is durable before anybody is told to run it, and again before its end is answered", async () => {
    const storage = new MemoryObjects("memory://shared");
    const engine = (await openEngine({ storage })).engine;
    const turn = await begin(engine);
    const begun = await run(engine, turn);
    expect((await storage.read("commit", [begun]))[0]).not.toBeNull();
    const { state } = await engine.turns.effects.end(begun, done('"sent"'));
    expect((await storage.read("commit", [state]))[0]).not.toBeNull();
    // The process is gone: nothing is closed.
    const again = await open(storage);
    await again.turns.restored();
    const retry = await begin(again, turn);
    expect(await resultOf(again, retry)).toBe('"sent"');
    expect((await again.verify()).damage).toEqual([]);
  });

  test("gives its result in the same turn, in one that retries it, and in one that retries that", async () => {
    const engine = await open();
    const first = await begin(engine);
    await engine.turns.effects.end(await run(engine, first), done("7"));
    expect(await resultOf(engine, first)).toBe("7");
    await engine.turns.fail(first, "the model gave up");
    const second = await begin(engine, first);
    expect(await resultOf(engine, second)).toBe("7");
    await engine.turns.complete(second, null);
    const third = await begin(engine, second);
    expect(await resultOf(engine, third)).toBe("7");
    const other = await begin(engine);
    expect((await engine.turns.effects.begin(other, "mail")).status).toBe("run");
  });

  test("without a result is done all the same", async () => {
    const engine = await open();
    const turn = await begin(engine);
    await engine.turns.effects.end(await run(engine, turn), done());
    expect(await resultOf(engine, turn)).toBeNull();
  });

  test("is run once by turns that retry the same one side by side", async () => {
    const engine = await open();
    const first = await begin(engine);
    await engine.turns.fail(first, "x");
    const [a, b] = [await begin(engine, first), await begin(engine, first)];
    const replies = await Promise.allSettled([
      engine.turns.effects.begin(a, "mail"),
      engine.turns.effects.begin(b, "mail"),
    ]);
    expect(replies[0]).toMatchObject({ status: "fulfilled", value: { status: "run" } });
    expect(replies[1]).toMatchObject({ status: "rejected", reason: { code: "conflict", details: { turn: a } } });
    const begun = (replies[0] as PromiseFulfilledResult<{ begun: Hash }>).value.begun;
    await engine.turns.effects.end(begun, done("1"));
    expect(await resultOf(engine, b)).toBe("1");
  });

  test("that is under way in this turn is a conflict; the same request again has the same answer", async () => {
    const engine = await open();
    const turn = await begin(engine);
    const [one, same] = await Promise.all([
      engine.turns.effects.begin(turn, "mail", "id-1"),
      engine.turns.effects.begin(turn, "mail", "id-1"),
    ]);
    expect(same).toEqual(one);
    const { effects } = engine.turns;
    await expect(effects.begin(turn, "mail", "id-2")).rejects.toMatchObject({ code: "conflict" });
    await expect(effects.begin(turn, "mail")).rejects.toMatchObject({ code: "conflict" });
    await expect(effects.begin(turn, "other", "id-1")).rejects.toMatchObject({ code: "conflict" });
    expect(await statusOf(engine)).toEqual(["running"]);
  });

  test("that failed is run again; an old request's id does not begin it", async () => {
    const engine = await open();
    const turn = await begin(engine);
    const { effects } = engine.turns;
    const one = await effects.begin(turn, "mail", "id-1");
    if (one.status !== "run") throw new Error("not run");
    await effects.end(one.begun, { status: "failed", error: "no network" });
    await expect(effects.begin(turn, "mail", "id-1")).rejects.toMatchObject({ code: "conflict" });
    const two = await effects.begin(turn, "mail", "id-2");
    expect(two).toMatchObject({ status: "run", effect: one.effect });
    // What comes late of the first try says nothing of the second.
    await effects.end(one.begun, { status: "failed", error: "no network" });
    expect(await statusOf(engine)).toEqual(["running"]);
    expect((await effects.list())[0]?.turns).toEqual([turn, turn]);
  });

  test("is ended once, and the same again is the same", async () => {
    const engine = await open();
    const turn = await begin(engine);
    const begun = await run(engine, turn);
    const { effects } = engine.turns;
    const [a, b] = await Promise.all([effects.end(begun, done("1")), effects.end(begun, done("1"))]);
    expect(a).toEqual(b);
    await expect(effects.end(begun, done("2"))).rejects.toMatchObject({ code: "conflict" });
    await expect(effects.end(begun, { status: "failed", error: "x" })).rejects.toMatchObject({ code: "conflict" });
    await engine.turns.complete(turn, null);
    expect(await effects.end(begun, done("1"))).toEqual(a);
    await expect(effects.end(begun, done("2"))).rejects.toMatchObject({ code: "conflict" });
    await expect(effects.end("0".repeat(64) as Hash, done())).rejects.toMatchObject({ code: "not_found" });
  });

  test("keeps its turn from being completed while it is under way", async () => {
    const engine = await open();
    const turn = await begin(engine);
    const begun = await run(engine, turn);
    await expect(engine.turns.complete(turn, null)).rejects.toMatchObject({
      code: "conflict",
      details: { key: "mail" },
    });
    await engine.turns.effects.end(begun, done());
    expect(await engine.turns.complete(turn, null)).toMatchObject({ kind: "completed" });
  });

  test("in a replay gives its result, and is not run where there is none", async () => {
    const engine = await open();
    const turn = await begin(engine);
    await engine.turns.effects.end(await run(engine, turn), done("7"));
    await engine.turns.complete(turn, null);
    const replay = (await engine.turns.begin({ branch: MAIN, replays: turn })).turn;
    expect(await resultOf(engine, replay)).toBe("7");
    await expect(engine.turns.effects.begin(replay, "other")).rejects.toMatchObject({ code: "conflict" });
    expect(await statusOf(engine, "other")).toEqual([]);
    expect(await engine.turns.complete(replay, null)).toMatchObject({ kind: "completed" });
  });

  test("of a turn that is open, or is not here, can't be retried", async () => {
    const engine = await open();
    const turn = await begin(engine);
    await expect(begin(engine, turn)).rejects.toMatchObject({ code: "conflict" });
    await expect(begin(engine, "t-none")).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("an effect whose end nobody saw", () => {
  async function crashed(): Promise<{ engine: StateEngine; turn: string; begun: Hash }> {
    const storage = new MemoryObjects("memory://shared");
    const dead = (await openEngine({ storage })).engine;
    await put(dead, { "/a": "1" });
    const turn = await begin(dead);
    const begun = await run(dead, turn);
    return { engine: await open(storage), turn, begun };
  }

  test("is unknown, and is not run again", async () => {
    const { engine, turn } = await crashed();
    const retry = await begin(engine, turn);
    expect(await engine.turns.effects.begin(retry, "mail")).toMatchObject({ status: "unknown", turn });
    expect(await statusOf(engine)).toEqual(["unknown"]);
  });

  test("is run again when a person says that it was not done", async () => {
    const { engine, turn } = await crashed();
    const [item] = await engine.turns.effects.list();
    const id = item?.effect as string;
    const resolved = await engine.turns.effects.resolve(id.slice(0, 8), { status: "not_done" });
    expect(resolved).toMatchObject({ effect: id, key: "mail", branch: `turn/${turn}` });
    expect(await engine.resolve(`turn/${turn}`)).toBe(resolved.state);
    expect(await engine.turns.effects.resolve(id, { status: "not_done" })).toEqual({ ...resolved, branch: null });
    const retry = await begin(engine, turn);
    await engine.turns.effects.end(await run(engine, retry), done("2"));
    expect(await resultOf(engine, retry)).toBe("2");
    // A person who finds out later that it was done is too late to be believed the other way round.
    await expect(engine.turns.effects.resolve(id, { status: "not_done" })).rejects.toMatchObject({ code: "conflict" });
  });

  test("is done when a person says so, with a result or without", async () => {
    for (const result of ['"by hand"', undefined]) {
      const { engine, turn } = await crashed();
      const [item] = await engine.turns.effects.list();
      const word = done(result) as Word & { status: "done" };
      const { state } = await engine.turns.effects.resolve(item?.effect as string, word);
      expect(await engine.turns.effects.resolve(item?.effect as string, word)).toMatchObject({ state, branch: null });
      expect(await resultOf(engine, await begin(engine, turn))).toBe(result ?? null);
      const { event, turn: of } = await engine.commit(state);
      expect([event.info?.["by"], event.info?.["status"], of]).toEqual(["person", "done", turn]);
      await expect(
        engine.turns.effects.resolve(item?.effect as string, done('"other"') as never),
      ).rejects.toMatchObject({ code: "conflict" });
      expect((await engine.verify()).damage).toEqual([]);
    }
  });

  test("is known again when who ran it comes back, even after a person's not done", async () => {
    for (const before of [null, { status: "not_done" } as const]) {
      const { engine, turn, begun } = await crashed();
      const [item] = await engine.turns.effects.list();
      if (before !== null) await engine.turns.effects.resolve(item?.effect as string, before);
      const ended = await engine.turns.effects.end(begun, done("9"));
      expect(await engine.turns.effects.end(begun, done("9"))).toEqual(ended);
      expect(await engine.resolve(`turn/${turn}`)).toBe(ended.state);
      expect(await resultOf(engine, await begin(engine, turn))).toBe("9");
    }
  });

  test("was said to be done by a person: who ran it can't say otherwise", async () => {
    const { engine, begun } = await crashed();
    const [item] = await engine.turns.effects.list();
    await engine.turns.effects.resolve(item?.effect as string, { status: "done" });
    const failed = { status: "failed", error: "x" } as const;
    await expect(engine.turns.effects.end(begun, failed)).rejects.toMatchObject({ code: "conflict" });
  });

  test("is still found, and may be said, when its branch was deleted", async () => {
    const { engine, turn } = await crashed();
    await engine.turns.restored();
    await engine.deleteBranch(`turn/${turn}` as typeof MAIN);
    const [item] = await engine.turns.effects.list();
    await engine.turns.effects.resolve(item?.effect as string, done("1") as never);
    expect(await resultOf(engine, await begin(engine, turn))).toBe("1");
  });

  test("can't be resolved while its turn is open, nor one that there is not", async () => {
    const engine = await open();
    const turn = await begin(engine);
    await run(engine, turn);
    const [item] = await engine.turns.effects.list();
    const { effects } = engine.turns;
    await expect(effects.resolve(item?.effect as string, { status: "not_done" })).rejects.toMatchObject({
      code: "conflict",
      details: { status: "running" },
    });
    await expect(effects.resolve("e-0000", { status: "done" })).rejects.toMatchObject({ code: "not_found" });
    await run(engine, turn, "second");
    await engine.turns.fail(turn, "x");
    await expect(effects.resolve("e-", { status: "done" })).rejects.toMatchObject({ code: "invalid" });
  });

  test("is resolved where it was left, when a turn beside it that is open had tried in the same millisecond", async () => {
    const engine = await open();
    const first = await begin(engine);
    await engine.turns.fail(first, "x");
    const [open_, left] = [await begin(engine, first), await begin(engine, first)];
    // Which of two commits of one time counts as the later one is chance: so eight times.
    const keys = Array.from({ length: 8 }, (_, i) => `mail ${i}`);
    for (const key of keys) {
      await engine.turns.effects.end(await run(engine, open_, key), { status: "failed", error: "x" });
      await run(engine, left, key);
    }
    await engine.turns.fail(left, "its process died");
    for (const { effect, key } of await engine.turns.effects.list()) {
      await engine.turns.effects.resolve(effect, done('"sent"'));
      expect(await resultOf(engine, open_, key)).toBe('"sent"');
    }
  });

  test("that a person took for not done, and the person's code for failed, may be said to be done", async () => {
    const engine = await open();
    const turn = await begin(engine);
    await engine.turns.effects.end(await run(engine, turn), { status: "failed", error: "timed out" });
    await engine.turns.fail(turn, "x");
    const [item] = await engine.turns.effects.list();
    expect(item).toMatchObject({ status: "failed", said: { error: "timed out" } });
    await engine.turns.effects.resolve(item?.effect as string, done("1") as never);
    expect(await resultOf(engine, await begin(engine, turn))).toBe("1");
  });

  test("whose result was lost may get one from a person", async () => {
    const engine = await open();
    const turn = await begin(engine);
    await engine.turns.effects.end(await run(engine, turn), { status: "done", lost: "too large" });
    expect(await engine.turns.effects.begin(turn, "mail")).toMatchObject({ status: "done", lost: "too large" });
    await engine.turns.complete(turn, null);
    const [item] = await engine.turns.effects.list();
    await engine.turns.effects.resolve(item?.effect as string, done("1") as never);
    const reply = await engine.turns.effects.begin(await begin(engine, turn), "mail");
    expect(reply).toMatchObject({ status: "done", lost: null });
  });
});

describe("a storage that refuses", () => {
  test("a begin that could not be stored told nobody to run: the next one does", async () => {
    const storage = new FaultyObjects();
    const engine = await open(storage);
    const turn = await begin(engine);
    storage.fails = () => true;
    await expect(engine.turns.effects.begin(turn, "mail", "a")).rejects.toMatchObject({ code: "unavailable" });
    storage.fails = () => false;
    const begun = await engine.turns.effects.begin(turn, "mail", "b");
    expect(begun).toMatchObject({ status: "run" });
    expect((await engine.turns.effects.list())[0]?.turns).toHaveLength(1);
  });

  test("an end that could not be stored is stored when it is said again", async () => {
    const storage = new FaultyObjects();
    const engine = await open(storage);
    const turn = await begin(engine);
    const begun = await run(engine, turn);
    storage.fails = () => true;
    await expect(engine.turns.effects.end(begun, done("1"))).rejects.toMatchObject({ code: "unavailable" });
    storage.fails = () => false;
    const { state } = await engine.turns.effects.end(begun, done("1"));
    expect((await storage.read("commit", [state]))[0]).not.toBeNull();
    expect(await resultOf(engine, turn)).toBe("1");
    expect((await engine.turns.effects.list())[0]?.said?.commit).toBe(state);
  });

  test("a begin whose turn ends meanwhile is not run, and not unknown either", async () => {
    const storage = new FaultyObjects();
    const engine = await open(storage);
    const turn = await begin(engine);
    await run(engine, turn, "first");
    const before = storage.applies;
    storage.hold();
    const writing = put(engine, { "/a": "1" });
    await expect.poll(() => storage.applies).toBe(before + 1);
    const begun = engine.turns.effects.begin(turn, "mail");
    await expect.poll(() => engine.turns.required(turn).unstored).toBeGreaterThan(0);
    const failed = engine.turns.fail(turn, "cancelled");
    storage.release();
    await expect(begun).rejects.toMatchObject({ code: "conflict" });
    await Promise.all([failed, writing]);
    expect(await statusOf(engine)).toEqual(["failed"]);
    expect(await statusOf(engine, "first")).toEqual(["unknown"]);
  });
});
