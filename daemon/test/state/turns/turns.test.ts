import { type Hash, MAIN } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { MemoryObjects } from "../../../src/storage/backends/memory.ts";
import { contents, key, op, openEngine, put } from "../harness.ts";
import { begin, events, get, open, set, valueOf } from "./turn-harness.ts";

describe("a turn", () => {
  test("sees its own writes, and nobody else does until it is completed", async () => {
    const { engine } = await open();
    await put(engine, { "/a": "1" });
    const turn = await begin(engine);
    await set(turn, "/a", "2");
    await set(turn, "/b", "new");
    expect([await get(turn, "/a"), await get(turn, "/b")]).toEqual(["2", "new"]);
    expect(await contents(engine)).toEqual({ "/a": "1" });
    const state = turn.head.commit;
    const ended = await engine.turns.complete(turn.turn, Buffer.from("done"));
    expect(ended).toMatchObject({ kind: "completed", state, merged: false, conflicts: 0 });
    expect(await contents(engine)).toEqual({ "/a": "2", "/b": "new" });
    expect(await engine.resolve("main")).toBe(ended.commit);
    expect(await events(engine, "main")).toEqual([
      "init",
      "contract",
      "kv.batch",
      "invoke",
      "kv.put",
      "kv.put",
      "complete",
    ]);
    const { event, parents, turn: id, session } = await engine.commit(ended.commit);
    expect(event.info).toEqual({ state });
    expect(parents).toEqual([state]);
    expect([id, session]).toEqual([turn.turn, turn.session]);
    const [output, size] = valueOf(event, "output");
    expect(Buffer.from(await engine.requiredValue(output, size)).toString()).toBe("done");
    // It wrote both keys before it read them.
    expect(event.values).not.toHaveProperty("reads");
  });

  test("lists what it read of the state that it began from", async () => {
    const { engine } = await open();
    await put(engine, { "/a": "1" });
    const turn = await begin(engine);
    await get(turn, "/a");
    await get(turn, "/none");
    await set(turn, "/own", "x");
    await get(turn, "/own");
    const { commit } = await engine.turns.complete(turn.turn, null);
    const [hash, size] = valueOf((await engine.commit(commit)).event, "reads");
    const entry = await (await engine.stateOf()).get("kv", key("/a"));
    const reads: unknown = JSON.parse(Buffer.from(await engine.requiredValue(hash, size)).toString());
    expect(reads).toEqual({
      kv: [
        ["/a", entry?.hash],
        ["/none", null],
      ],
      more: 0,
      vectors: [],
    });
  });

  test("joins a branch that moved meanwhile by a merge", async () => {
    const { engine } = await open();
    await put(engine, { "/a": "1" });
    const turn = await begin(engine);
    await set(turn, "/turn", "t");
    const moved = await put(engine, { "/other": "o" });
    const ended = await engine.turns.complete(turn.turn, null);
    expect(ended).toMatchObject({ kind: "completed", merged: true });
    expect(await contents(engine)).toEqual({ "/a": "1", "/other": "o", "/turn": "t" });
    const { parents, event } = await engine.commit(await engine.resolve("main"));
    expect(event.kind).toBe("merge");
    expect([...parents].sort()).toEqual([moved, ended.commit].sort());
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("whose expectation no longer holds moves nothing and is kept", async () => {
    const { engine } = await open();
    await put(engine, { "/a": "1" });
    const turn = await begin(engine);
    const was = (await (await engine.stateOf()).get("kv", key("/a")))?.hash as Hash;
    await set(turn, "/a", "turn", was);
    const moved = await put(engine, { "/a": "other" });
    const ended = await engine.turns.complete(turn.turn, null);
    const now = (await (await engine.stateOf()).get("kv", key("/a")))?.hash as Hash;
    expect(ended).toMatchObject({
      kind: "conflict",
      branch: `turn/${turn.turn}`,
      expected: { key: "/a", expected: was, actual: now },
    });
    expect(await engine.resolve("main")).toBe(moved);
    expect(await contents(engine, `turn/${turn.turn}`)).toEqual({ "/a": "turn" });
    expect(await events(engine, `turn/${turn.turn}`)).toEqual([
      "init",
      "contract",
      "kv.batch",
      "invoke",
      "kv.put",
      "fail",
    ]);
  });

  test("expects nothing of the branch for a key that it wrote itself", async () => {
    const { engine } = await open();
    const turn = await begin(engine);
    await set(turn, "/a", "1");
    const own = (await turn.view().get("kv", key("/a")))?.hash as Hash;
    await set(turn, "/a", "2", own);
    await put(engine, { "/b": "other" });
    expect(await engine.turns.complete(turn.turn, null)).toMatchObject({ kind: "completed", merged: true });
  });

  test("that fails moves nothing, and what it did is on a branch", async () => {
    const { engine } = await open();
    const before = await put(engine, { "/a": "1" });
    const turn = await begin(engine);
    await set(turn, "/a", null);
    const ended = await engine.turns.fail(turn.turn, "the model gave up");
    expect(ended).toMatchObject({ kind: "failed", branch: `turn/${turn.turn}` });
    expect(await engine.resolve("main")).toBe(before);
    expect(await contents(engine, `turn/${turn.turn}`)).toEqual({});
    await expect(engine.turns.complete(turn.turn, null)).rejects.toMatchObject({ code: "not_found" });
    expect(() => engine.turns.required(turn.turn)).toThrow("it ended: failed");
  });

  test("is ended when its time is over", async () => {
    const { engine } = await open();
    const before = await put(engine, { "/a": "1" });
    const { turn } = await engine.turns.begin({ branch: MAIN, limit: 20 });
    await expect.poll(() => engine.liveBranches().map(({ name }) => name)).toContain(`turn/${turn}`);
    expect(await engine.resolve("main")).toBe(before);
  });

  test("is asked for once by one id, also after it has ended", async () => {
    const { engine } = await open();
    const one = await engine.turns.begin({ branch: MAIN }, "begin-1");
    expect(await engine.turns.begin({ branch: MAIN }, "begin-1")).toEqual(one);
    const [a, b] = await Promise.all([
      engine.turns.complete(one.turn, Buffer.from("x"), "end-1"),
      engine.turns.complete(one.turn, Buffer.from("x"), "end-1"),
    ]);
    expect(a).toEqual(b);
    expect(await engine.turns.complete(one.turn, Buffer.from("x"), "end-1")).toEqual(a);
    await expect(engine.turns.complete(one.turn, Buffer.from("y"), "end-1")).rejects.toMatchObject({
      code: "conflict",
    });
  });

  test("has the same write once by one id", async () => {
    const { engine } = await open();
    const turn = await begin(engine);
    const request = { space: "kv", kind: "kv.put", branch: MAIN, ops: [op("/a", "1")] } as const;
    const [a, b] = await Promise.all([turn.write(request, "w"), turn.write(request, "w")]);
    expect(a).toEqual(b);
    await expect((async () => turn.write({ ...request, ops: [op("/a", "2")] }, "w"))()).rejects.toMatchObject({
      code: "conflict",
    });
  });

  test("of many and large values is stored as it goes, and reads back before and after", async () => {
    const { engine, storage } = await open();
    const turn = await begin(engine);
    const large = Buffer.alloc(400_000, 7).map((x, i) => x ^ ((i * 31) % 251));
    for (let i = 0; i < 700; i++) await set(turn, `/k${i % 100}`, `${i}`);
    await turn.write({ space: "kv", kind: "kv.put", branch: MAIN, ops: [op("/large", large)] });
    const read = async (): Promise<number> =>
      Buffer.compare(Buffer.from((await turn.find(key("/large"))).value?.bytes ?? []), large);
    expect(await read()).toBe(0);
    await turn.storing.flush();
    expect(turn.unstored).toBe(0);
    expect(await read()).toBe(0);
    expect((await storage.usage()).counts.commit).toBe(2 + 1 + 700 + 1);
    await set(turn, "/k1", "last");
    await engine.turns.complete(turn.turn, null);
    expect(Object.keys(await contents(engine))).toHaveLength(101);
    expect((await contents(engine))["/k1"]).toBe("last");
    expect((await engine.verify()).damage).toEqual([]);
  });

  test("is stored behind its answer, and before anything else of it: the beginning with the reply that its id gets", async () => {
    const { engine, storage } = await open();
    const soon = await engine.turns.begin({ branch: MAIN }, "soon");
    expect([await storage.reply("soon"), await storage.notes("turn/")]).toEqual([null, []]);
    await expect.poll(() => storage.reply("soon")).toMatchObject({ reply: JSON.stringify(soon) });
    const now = await engine.turns.begin({ branch: MAIN }, "now");
    await engine.turns.required(now.turn).storing.flush();
    expect(await storage.reply("now")).toMatchObject({ reply: JSON.stringify(now) });
    const done = await engine.turns.begin({ branch: MAIN }, "done");
    await engine.turns.complete(done.turn, null);
    expect(await storage.reply("done")).toMatchObject({ reply: JSON.stringify(done) });
    expect(await storage.notes("turn/")).toHaveLength(2);
  });

  test("that was open when the daemon died is a failed one, with what was durable of it", async () => {
    const storage = new MemoryObjects("memory://shared");
    const { engine } = await openEngine({ storage });
    const before = await put(engine, { "/a": "1" });
    const turn = await begin(engine);
    await set(turn, "/a", "2");
    await turn.storing.flush();
    await set(turn, "/a", "lost");
    // The process is gone: nothing is closed.
    const again = await open({ storage });
    await expect.poll(() => again.engine.liveBranches().map(({ name }) => name)).toContain(`turn/${turn.turn}`);
    expect(await again.engine.resolve("main")).toBe(before);
    expect(await contents(again.engine, `turn/${turn.turn}`)).toEqual({ "/a": "2" });
    expect(await storage.notes("turn/")).toEqual([]);
    const next = await begin(again.engine);
    await set(next, "/b", "works");
    expect(await again.engine.turns.complete(next.turn, null)).toMatchObject({ kind: "completed" });
  });

  test("stores trees as often as other writes do, and every end reads as it was", async () => {
    const storage = new MemoryObjects("memory://intervals");
    const { engine } = await openEngine({ storage });
    const model: Record<string, string> = {};
    const ends: [Hash, Record<string, string>][] = [];
    for (let n = 0; n < 40; n++) {
      const turn = await begin(engine);
      for (const at of [n, n * 7, n * 13].map((m) => `/${m % 30}`)) {
        await set(turn, at, (model[at] = `${n} ${at}`));
      }
      const ended = await engine.turns.complete(turn.turn, null);
      if (ended.kind === "completed") ends.push([ended.head, { ...model }]);
    }
    const again = await open({ storage });
    let since = 0;
    const stored = new Set<Hash>();
    for await (const { commit } of again.engine.log(await again.engine.resolve("main"))) {
      const [snapshot] = await storage.read("snapshot", [commit.snapshot]);
      since = snapshot === null ? since + 1 : 0;
      if (snapshot !== null) stored.add(commit.snapshot);
      expect(since).toBeLessThan(64);
    }
    // Of 200 commits and the agent's first.
    expect(stored.size).toBeLessThanOrEqual(4);
    expect(ends).toHaveLength(40);
    for (const [end, then] of ends) expect(await contents(again.engine, end)).toEqual(then);
  });
});
