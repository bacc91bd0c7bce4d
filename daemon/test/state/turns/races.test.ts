import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { type BranchName, type Hash, MAIN, VlinderError } from "@vlinder/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { StateEngine } from "../../../src/state/engine.ts";
import { MemoryObjects } from "../../../src/storage/backends/memory.ts";
import type { Transaction } from "../../../src/storage/object-storage.ts";
import { AGENT, contents, contract, device, key, put, TestClock } from "../harness.ts";
import { FaultyObjects } from "../storage-faults.ts";
import { begin, events, get, open, readsOf, set } from "./turn-harness.ts";

/** Storage whose usage can be held back, and that can apply a transaction and say that it did not. */
class StrangeObjects extends MemoryObjects {
  loses = false;
  /** Reading the notes of turns fails so many times. */
  away = 0;
  #gate: Promise<void> | null = null;

  constructor() {
    super("memory://strange");
  }

  holdUsage(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    return () => {
      this.#gate = null;
      resolve();
    };
  }

  override async usage() {
    await this.#gate;
    return await super.usage();
  }

  override async notes(prefix: string) {
    if (prefix.startsWith("turn/") && this.away-- > 0) throw new VlinderError("unavailable", "the file is away");
    return await super.notes(prefix);
  }

  override async apply(transaction: Transaction): Promise<void> {
    await super.apply(transaction);
    if (this.loses) throw new VlinderError("unavailable", "the thread ended: it may have been stored or not");
  }
}

async function openLimited(storage: StrangeObjects): Promise<StateEngine> {
  const engine = await StateEngine.open({
    agent: AGENT,
    storage,
    device: () => device(1),
    now: new TestClock().now,
    limit: () => 64 << 20,
  });
  await engine.setContract(contract());
  onTestFinished(() => engine.close());
  return engine;
}

async function branchNames(engine: StateEngine): Promise<string[]> {
  await nextTurn();
  return engine
    .liveBranches()
    .map(({ name }) => name)
    .sort();
}

describe("writes that wait", () => {
  test("are all part of the turn that is being completed, or refused", async () => {
    const storage = new StrangeObjects();
    const engine = await openLimited(storage);
    const turn = await begin(engine);
    const release = storage.holdUsage();
    const written = set(turn, "/waits", "for its measurement");
    const completed = engine.turns.complete(turn.turn, null);
    await sleep(5);
    release();
    await written;
    expect(await completed).toMatchObject({ kind: "completed" });
    expect(await contents(engine)).toEqual({ "/waits": "for its measurement" });
  });

  test("keep their order", async () => {
    const storage = new StrangeObjects();
    const engine = await openLimited(storage);
    const turn = await begin(engine);
    await set(turn, "/a", "measured");
    // Longer than a measurement is good for: what is large is measured anew, and what is small is not.
    await sleep(1100);
    const release = storage.holdUsage();
    const both = [set(turn, "/a", Buffer.alloc(5 << 20, "x")), set(turn, "/a", "the last")];
    await nextTurn();
    release();
    await Promise.all(both);
    expect(await get(turn, "/a")).toBe("the last");
  });

  test("of a pipeline are refused once the turn ends, and what was answered is there", async () => {
    const { engine } = await open();
    const turn = await begin(engine);
    const large = Buffer.alloc(3 << 20, 1);
    const writes = Array.from({ length: 12 }, (_, i) => set(turn, `/k${i}`, Buffer.concat([large, Buffer.from([i])])));
    const completed = engine.turns.complete(turn.turn, null);
    const late = set(turn, "/late", "x");
    await expect(late).rejects.toMatchObject({ code: "conflict" });
    const answers = await Promise.allSettled(writes);
    expect((await completed).kind).toBe("completed");
    const there = new Set((await (await engine.stateOf()).list("kv", { limit: 100 })).map((entry) => entry.key));
    const answered = answers.flatMap(({ status }, i) => (status === "fulfilled" ? [key(`/k${i}`)] : []));
    expect(answered).toHaveLength(12);
    expect([...there].sort()).toEqual(answered.sort());
  });
});

describe("what is stored in the background", () => {
  test("leaves no note of a turn that ended meanwhile", async () => {
    const storage = new FaultyObjects();
    const { engine } = await open({ storage });
    const turn = await begin(engine);
    await set(turn, "/a", "1");
    storage.hold();
    const first = turn.storing.flush();
    await sleep(5);
    await set(turn, "/a", "2");
    const second = turn.storing.flush();
    const completed = engine.turns.complete(turn.turn, null);
    await sleep(5);
    storage.release();
    await Promise.allSettled([first, second]);
    expect((await completed).kind).toBe("completed");
    await sleep(5);
    expect(await storage.notes("turn/")).toEqual([]);
    expect(await contents(engine)).toEqual({ "/a": "2" });
  });

  test("is tried again after an end of the turn that failed", async () => {
    const storage = new FaultyObjects();
    const { engine } = await open({ storage });
    const turn = await begin(engine);
    await set(turn, "/a", "1");
    storage.fails = () => true;
    await expect(engine.turns.complete(turn.turn, null)).rejects.toMatchObject({ code: "unavailable" });
    storage.fails = () => false;
    await expect.poll(() => turn.unstored, { timeout: 3000 }).toBe(0);
    await set(turn, "/b", "2");
    expect(await engine.turns.complete(turn.turn, null)).toMatchObject({ kind: "completed", merged: false });
    expect(await contents(engine)).toEqual({ "/a": "1", "/b": "2" });
  });
});

describe("several ends at once", () => {
  test("of two completes with ids of their own one ends the turn", async () => {
    const { engine } = await open();
    const turn = await begin(engine);
    await set(turn, "/a", "1");
    const both = await Promise.allSettled([
      engine.turns.complete(turn.turn, Buffer.from("1"), "one"),
      engine.turns.complete(turn.turn, Buffer.from("2"), "two"),
    ]);
    expect(both.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(both[1]).toMatchObject({ reason: { code: "conflict" } });
    expect((await events(engine, "main")).filter((kind) => kind === "complete")).toHaveLength(1);
    expect(await branchNames(engine)).toEqual(["main"]);
  });

  test("a complete beside a fail beside the end of its time", async () => {
    const storage = new FaultyObjects();
    const { engine } = await open({ storage });
    const { turn } = await engine.turns.begin({ branch: MAIN, limit: 30 });
    storage.hold();
    const completed = engine.turns.complete(turn, null);
    await expect(engine.turns.fail(turn, "late")).rejects.toMatchObject({ code: "conflict" });
    await sleep(60);
    storage.release();
    expect((await completed).kind).toBe("completed");
    await sleep(20);
    expect(await branchNames(engine)).toEqual(["main"]);
  });

  test("a refused id leaves the turn open", async () => {
    const { engine } = await open();
    const { turn } = await engine.turns.begin({ branch: MAIN }, "taken");
    await expect(engine.turns.complete(turn, null, "taken")).rejects.toMatchObject({ code: "conflict" });
    await set(engine.turns.required(turn), "/a", "1");
    expect((await engine.turns.complete(turn, null)).kind).toBe("completed");
  });
});

describe("a transaction that failed and was applied all the same", () => {
  async function lossy() {
    const storage = new StrangeObjects();
    const { engine } = await open({ storage });
    await put(engine, { "/a": "1" });
    // Else it hears of commits that it reads anyway.
    await engine.turns.index.sessions();
    return { engine, storage };
  }

  test.each([undefined, "id"])("a complete is one when it is asked for again (id: %s)", async (id) => {
    const { engine, storage } = await lossy();
    const turn = await begin(engine);
    await set(turn, "/new", "1", null);
    storage.loses = true;
    await expect(engine.turns.complete(turn.turn, null, id)).rejects.toMatchObject({ code: "unavailable" });
    storage.loses = false;
    const head = engine.branch(MAIN).head;
    expect(await contents(engine)).toEqual({ "/a": "1", "/new": "1" });
    expect(await engine.turns.complete(turn.turn, null, id)).toMatchObject({ kind: "completed", commit: head, head });
    expect(engine.branch(MAIN).head).toBe(head);
    expect(() => engine.turns.required(turn.turn)).toThrow("it ended: completed");
    expect(await branchNames(engine)).toEqual(["main"]);
    expect(await engine.turns.index.turn(turn.turn)).toMatchObject(id === undefined ? { kind: "completed" } : {});
  });

  test("a turn that was completed is not failed", async () => {
    const { engine, storage } = await lossy();
    const turn = await begin(engine);
    storage.loses = true;
    await expect(engine.turns.complete(turn.turn, null)).rejects.toMatchObject({ code: "unavailable" });
    storage.loses = false;
    expect(await engine.turns.fail(turn.turn, "late")).toMatchObject({ kind: "completed" });
    expect(await branchNames(engine)).toEqual(["main"]);
  });

  test("a turn that failed is not completed", async () => {
    const { engine, storage } = await lossy();
    const turn = await begin(engine);
    await set(turn, "/a", "2");
    storage.loses = true;
    await expect(engine.turns.fail(turn.turn, "the first")).rejects.toMatchObject({ code: "unavailable" });
    storage.loses = false;
    expect(await engine.turns.complete(turn.turn, null)).toMatchObject({ kind: "failed", reason: "the first" });
    expect(await contents(engine)).toEqual({ "/a": "1" });
    expect(await branchNames(engine)).toEqual(["main", `turn/${turn.turn}`]);
  });

  test("a turn that began so is ended: nobody has it", async () => {
    const { engine, storage } = await lossy();
    [storage.loses, storage.away] = [true, 0];
    await expect(engine.turns.begin({ branch: MAIN }, undefined, true)).rejects.toMatchObject({ code: "unavailable" });
    storage.loses = false;
    await expect.poll(() => branchNames(engine)).toHaveLength(2);
    expect(await storage.notes("turn/")).toEqual([]);
    expect(await contents(engine)).toEqual({ "/a": "1" });
  });
});

describe("after a crash", () => {
  test("one note that is damaged keeps no other turn open", async () => {
    const storage = new MemoryObjects("memory://shared");
    const { engine } = await open({ storage });
    const turn = await begin(engine);
    const notes = [{ name: "turn/a", bytes: Buffer.from("no note") }];
    await storage.apply({ objects: [], branches: [], replies: [], notes });
    const again = await open({ storage });
    await expect.poll(() => branchNames(again.engine)).toContain(`turn/${turn.turn}`);
  });

  test("what the storage refuses is tried again", { timeout: 10_000 }, async () => {
    const storage = new FaultyObjects();
    const { engine } = await open({ storage });
    const turn = await begin(engine);
    storage.fails = () => true;
    const again = await open({ storage, contract: null });
    await expect.poll(() => storage.fired).toBeGreaterThan(0);
    storage.fails = () => false;
    await expect.poll(() => branchNames(again.engine), { timeout: 8000 }).toContain(`turn/${turn.turn}`);
  });

  test("a turn that begins as the daemon starts is none of those that it ends", async () => {
    const storage = new StrangeObjects();
    const { engine } = await open({ storage });
    for (let i = 0; i < 20; i++) await begin(engine);
    const again = await open({ storage, contract: null });
    const own = await Promise.all(Array.from({ length: 20 }, () => begin(again.engine)));
    for (const turn of own.slice(0, 10)) await again.engine.turns.complete(turn.turn, null);
    await expect.poll(() => branchNames(again.engine)).toHaveLength(21);
    await again.engine.turns.restore();
    for (const turn of own.slice(10)) await again.engine.turns.complete(turn.turn, null);
    expect(await branchNames(again.engine)).toHaveLength(21);
    expect(await storage.notes("turn/")).toEqual([]);
  });
});

describe("reads beside writes of one turn", () => {
  test("what is read of a state before the write is noted, and of one behind it is not", async () => {
    const { engine } = await open();
    await put(engine, { "/a": "1", "/b": "1" });
    const was = (await (await engine.stateOf()).get("kv", key("/a")))?.hash;
    const turn = await begin(engine);
    const before = turn.view();
    await set(turn, "/a", "2");
    await set(turn, "/b", "2");
    await before.get("kv", key("/a"));
    await turn.view().get("kv", key("/b"));
    const { commit } = await engine.turns.complete(turn.turn, null);
    expect(await readsOf(engine, commit)).toEqual([["/a", was]]);
  });

  test("a delete of what is not there has written nothing", async () => {
    const { engine } = await open();
    const turn = await begin(engine);
    await set(turn, "/a", null);
    expect(await get(turn, "/a")).toBeNull();
    await set(turn, "/a", "mine", null);
    await put(engine, { "/a": "other" });
    const ended = await engine.turns.complete(turn.turn, null);
    expect(ended).toMatchObject({ kind: "conflict", expected: { key: "/a", expected: null } });
    expect(await contents(engine)).toEqual({ "/a": "other" });
  });
});

test("a branch that has the name already keeps it", async () => {
  const { engine } = await open();
  const turn = await begin(engine);
  const taken = `turn/${turn.turn}` as BranchName;
  await engine.fork(taken, engine.branch(MAIN).head);
  await set(turn, "/a", "1");
  const kept = await engine.turns.fail(turn.turn, "x");
  expect(kept).toMatchObject({ branch: `${taken}-2` });
  expect(await contents(engine, `${taken}-2`)).toEqual({ "/a": "1" });
  expect(engine.branch(taken).head).toBe(engine.branch(MAIN).head as Hash);
});
