import { type BranchName, type Contract, encodeVectorRecord, type Hash, MAIN } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { sealedBranchId } from "../../src/state/promote.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { contents, contract, key, op, openEngine, type Opened, put } from "./harness.ts";
import { emptyMachine, machine, meet, send, settle } from "./machines.ts";

const FIX = "fix" as BranchName;
const DAY = 24 * 60 * 60 * 1000;

/** Milk, eggs and carrots on main, and a branch from before the carrots with bread: what the walkthrough has. */
async function shopping(n = 1): Promise<Opened & { eggs: Hash; carrots: Hash; bread: Hash }> {
  const one = await machine(n);
  const step = async (value: string, branch?: BranchName): Promise<Hash> => {
    one.clock.tick(1000);
    return (await put(one.engine, { [`/${value}`]: value }, branch)) as Hash;
  };
  await step("milk");
  const eggs = await step("eggs");
  const carrots = await step("carrots");
  await one.engine.fork(FIX, eggs);
  const bread = await step("bread", FIX);
  one.clock.tick(1000);
  return { ...one, eggs, carrots, bread };
}

const names = (engine: StateEngine): string[] =>
  engine
    .liveBranches()
    .map(({ name, sealed }) => (sealed ? `${name} (sealed)` : name))
    .sort();

async function keysOf(engine: StateEngine, ref?: string): Promise<string[]> {
  return Object.keys(await contents(engine, ref));
}

/** Every branch is at the same commit on all of them, and all of it is intact. */
async function expectSame(...engines: readonly StateEngine[]): Promise<void> {
  const heads = (engine: StateEngine): object =>
    Object.fromEntries(engine.branches().map(({ id, head, sealed }) => [id, [head, sealed]]));
  for (const engine of engines) {
    expect(heads(engine)).toEqual(heads(engines[0] as StateEngine));
    expect(await engine.verify()).toMatchObject({ damaged: 0, unreachable: 0 });
  }
}

describe("promote", () => {
  test("main holds what the branch does, and what it held is kept sealed", async () => {
    const { engine, carrots, bread } = await shopping();
    const reply = await engine.promote(FIX, MAIN);
    expect(reply).toEqual({
      state: engine.branch(MAIN).head,
      sealed: "broken-2026-11-20",
      branchId: sealedBranchId(engine.branch(MAIN).id, carrots),
    });
    expect(await keysOf(engine)).toEqual(["/bread", "/eggs", "/milk"]);
    expect(await keysOf(engine, reply.sealed)).toEqual(["/carrots", "/eggs", "/milk"]);
    expect(engine.branch(reply.sealed)).toMatchObject({ id: reply.branchId, head: carrots, sealed: true });
    expect(engine.branch(FIX).head).toBe(bread);
    await expect(put(engine, { "/more": "x" }, reply.sealed)).rejects.toMatchObject({ code: "sealed" });
    const commit = await engine.commit(reply.state);
    expect(commit).toMatchObject({
      branch: engine.branch(MAIN).id,
      parents: [bread, carrots],
      event: { kind: "promote", info: { branch: "fix", sealed: "broken-2026-11-20" } },
    });
    expect(commit).not.toHaveProperty("changes");
    expect(await engine.verify()).toMatchObject({ damaged: 0 });
    // Both go on from there.
    await put(engine, { "/jam": "jam" });
    await put(engine, { "/salt": "salt" }, FIX);
    expect(await keysOf(engine)).toEqual(["/bread", "/eggs", "/jam", "/milk"]);
  });

  test("main that has not moved since the fork is sealed all the same", async () => {
    const { engine } = await openEngine();
    const milk = await put(engine, { "/milk": "1" });
    await engine.fork(FIX, milk as Hash);
    await put(engine, { "/bread": "1" }, FIX);
    const { sealed, state } = await engine.promote(FIX, MAIN);
    expect(engine.branch(sealed).head).toBe(milk);
    expect((await engine.commit(state)).parents).toEqual([engine.branch(FIX).head, milk]);
  });

  test("a branch from before everything takes main back", async () => {
    const { engine, eggs, carrots } = await shopping();
    await engine.fork("old" as BranchName, eggs);
    const { state } = await engine.promote("old" as BranchName, MAIN);
    expect(await keysOf(engine)).toEqual(["/eggs", "/milk"]);
    expect((await engine.commit(state)).parents).toEqual([eggs, carrots]);
  });

  test("into another branch than main", async () => {
    const { engine } = await shopping();
    const { sealed } = await engine.promote(MAIN, FIX);
    expect(await keysOf(engine, FIX)).toEqual(["/carrots", "/eggs", "/milk"]);
    expect(await keysOf(engine, sealed)).toEqual(["/bread", "/eggs", "/milk"]);
  });

  test("names that are taken get a number; the date is that of the clock", async () => {
    const { engine, clock } = await shopping();
    const seal = async (): Promise<string> => {
      await put(engine, { "/n": String(Math.random()) }, FIX);
      return (await engine.promote(FIX, MAIN)).sealed;
    };
    expect([await seal(), await seal(), await seal()]).toEqual([
      "broken-2026-11-20",
      "broken-2026-11-20-2",
      "broken-2026-11-20-3",
    ]);
    clock.tick(DAY);
    expect(await seal()).toBe("broken-2026-11-21");
  });

  test("is never before either parent, whatever the clock says", async () => {
    const { engine, clock, bread } = await shopping();
    clock.tick(-DAY);
    const { state } = await engine.promote(FIX, MAIN);
    expect((await engine.commit(state)).time).toBe((await engine.commit(bread)).time);
  });

  test("what can't be is refused, and nothing has changed", async () => {
    const { engine } = await shopping();
    const { sealed } = await engine.promote(FIX, MAIN);
    await engine.fork("same" as BranchName, engine.branch(MAIN).head);
    const before = engine.branches();
    const refused = async (name: string, into: string = MAIN): Promise<unknown> =>
      await engine.promote(name as BranchName, into as BranchName).catch((error: unknown) => error);
    expect(await refused("main")).toMatchObject({ code: "invalid", details: { branch: "main", into: "main" } });
    expect(await refused("none")).toMatchObject({ code: "not_found" });
    expect(await refused("fix", "none")).toMatchObject({ code: "not_found" });
    expect(await refused(sealed)).toMatchObject({ code: "sealed", remedy: expect.stringContaining("rewind") });
    expect(await refused("fix", sealed)).toMatchObject({ code: "sealed", remedy: expect.stringContaining("fork") });
    expect(await refused("same")).toMatchObject({ code: "invalid", message: expect.stringContaining("nothing") });
    expect(await refused("fix")).toMatchObject({ code: "invalid", message: expect.stringContaining("nothing") });
    expect(engine.branches()).toEqual(before);
  });

  test("the same id again gets the first reply", async () => {
    const { engine } = await shopping();
    const first = await engine.promote(FIX, MAIN, "once");
    expect(await engine.promote(FIX, MAIN, "once")).toEqual(first);
    expect(names(engine)).toEqual(["broken-2026-11-20 (sealed)", "fix", "main"]);
  });

  test("counts, in histories and merges, for what it changed", async () => {
    const { engine, bread } = await shopping();
    const { state } = await engine.promote(FIX, MAIN);
    const history = async (name: string): Promise<unknown[]> => {
      const all: unknown[] = [];
      for await (const { commit, hash } of engine.timeline.history(key(name), state)) all.push([commit, hash === null]);
      return all;
    };
    expect(await history("/carrots")).toEqual([
      [state, true],
      [expect.anything(), false],
    ]);
    expect(await history("/bread")).toEqual([
      [state, false],
      [bread, false],
    ]);
    expect(await history("/milk")).toHaveLength(1);
    const blame = await engine.timeline.blame(state, [key("/bread"), key("/milk")]);
    expect(blame.get(key("/bread"))?.hash).toBe(state);
    expect(blame.get(key("/milk"))?.hash).not.toBe(state);
  });
});

describe("the contract", () => {
  const policies = (policy: "json" | "newest" | "lines"): Contract => contract({ "/": policy });

  /** Main had another contract after the fork. */
  test("is the one that was changed, wherever it was", async () => {
    const { engine } = await shopping();
    await engine.setContract(policies("json"));
    const { state } = await engine.promote(FIX, MAIN);
    expect(await engine.contract()).toEqual(policies("json"));
    expect((await engine.commit(state)).changes).toEqual({ contract: expect.any(String) });
    expect(await engine.verify()).toMatchObject({ damaged: 0 });
  });

  test("of two that were changed it is the later one, and a promote is none", async () => {
    const [a, b] = [await shopping(1), await emptyMachine(2)];
    await send(a.engine, b.engine);
    // The first vector fixes the dimension on fix; b changes the contract later than that, and before the promote.
    const ops = [op("/v", encodeVectorRecord({ vector: Float32Array.of(1, 0, 0), model: "m", metadata: {} }))];
    await a.engine.write({ space: "vectors", kind: "vector.put", branch: FIX, ops, dimension: 3 });
    b.clock.tick(60_000);
    await b.engine.setContract(policies("lines"));
    a.clock.tick(120_000);
    await a.engine.promote(FIX, MAIN);
    expect(await a.engine.contract()).toMatchObject({ vectors: { dimension: 3 } });
    await settle([a.engine, b.engine]);
    expect(await a.engine.contract()).toEqual(policies("lines"));
    await expectSame(a.engine, b.engine);
  });
});

describe("on another machine", () => {
  /** Two machines with the same history. */
  async function pair() {
    const a = await shopping();
    const b = await emptyMachine(2);
    await send(a.engine, b.engine);
    b.clock.tick(10_000);
    return { a, b };
  }

  test("whoever has the old main goes on, and gets it sealed", async () => {
    const { a, b } = await pair();
    const { sealed, state } = await a.engine.promote(FIX, MAIN);
    const results = await send(a.engine, b.engine);
    expect(results.find(({ name }) => name === "main")).toMatchObject({ result: "fast-forward", head: state });
    expect(names(b.engine)).toEqual(["broken-2026-11-20 (sealed)", "fix", "main"]);
    await expect(put(b.engine, { "/x": "1" }, sealed)).rejects.toMatchObject({ code: "sealed" });
    await expectSame(a.engine, b.engine);
  });

  test("what it wrote on the old main is there, and nothing else of the old main", async () => {
    const { a, b } = await pair();
    await put(b.engine, { "/ham": "by b", "/eggs": "ten" });
    const { sealed } = await a.engine.promote(FIX, MAIN);
    const results = await send(a.engine, b.engine);
    expect(results.find(({ name }) => name === "main")).toMatchObject({ result: "merged", conflicts: 0 });
    await send(b.engine, a.engine);
    for (const { engine } of [a, b]) {
      expect(await contents(engine)).toEqual({ "/bread": "bread", "/eggs": "ten", "/ham": "by b", "/milk": "milk" });
      expect(await keysOf(engine, sealed)).toEqual(["/carrots", "/eggs", "/milk"]);
      await expect(put(engine, { "/x": "1" }, sealed)).rejects.toMatchObject({ code: "sealed" });
    }
    await expectSame(a.engine, b.engine);
  });

  test("a machine that lags behind brings nothing back that was left out, and what it wrote to that stays", async () => {
    const a = await machine(1);
    const eggs = (await put(a.engine, { "/milk": "1", "/eggs": "1" })) as Hash;
    const b = await emptyMachine(2);
    await send(a.engine, b.engine);
    await put(a.engine, { "/carrots": "1" });
    const c = await emptyMachine(3);
    await send(a.engine, c.engine);
    a.clock.tick(1000);
    await a.engine.fork(FIX, eggs);
    await put(a.engine, { "/bread": "1" }, FIX);
    await a.engine.promote(FIX, MAIN);
    await put(b.engine, { "/b": "1" });
    await put(c.engine, { "/carrots": "2" });
    await settle([a.engine, b.engine, c.engine]);
    for (const { engine } of [a, b, c]) {
      expect(await contents(engine)).toEqual({ "/b": "1", "/bread": "1", "/carrots": "2", "/eggs": "1", "/milk": "1" });
    }
    await expectSame(a.engine, b.engine, c.engine);
  });

  test("two that promote the same branch keep one sealed branch, and come to one commit", async () => {
    const { a, b } = await pair();
    const [one, other] = [await a.engine.promote(FIX, MAIN), await b.engine.promote(FIX, MAIN)];
    expect(one.state).not.toBe(other.state);
    expect(one.branchId).toBe(other.branchId);
    await meet(a.engine, b.engine);
    expect(names(a.engine)).toEqual(["broken-2026-11-20 (sealed)", "fix", "main"]);
    expect(await keysOf(a.engine)).toEqual(["/bread", "/eggs", "/milk"]);
    await expectSame(a.engine, b.engine);
  });

  test("two that promote different branches have both, and nothing of the old main", async () => {
    const { a, b } = await pair();
    const jam = "jam" as BranchName;
    await b.engine.fork(jam, b.engine.branch(MAIN).head);
    await put(b.engine, { "/jam": "1", "/carrots": null }, jam);
    await a.engine.promote(FIX, MAIN);
    await b.engine.promote(jam, MAIN);
    await meet(a.engine, b.engine);
    expect(await keysOf(b.engine)).toEqual(["/bread", "/eggs", "/jam", "/milk"]);
    await expectSame(a.engine, b.engine);
  });

  test("of a key that both changed the promote is the newer change, and the other is kept beside it", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/milk": "two" }, FIX);
    await put(b.engine, { "/milk": "three" });
    a.clock.tick(60_000);
    await a.engine.promote(FIX, MAIN);
    await meet(a.engine, b.engine);
    const all = await contents(b.engine);
    expect(all["/milk"]).toBe("two");
    expect(Object.entries(all).filter(([name]) => name.startsWith("/milk."))).toEqual([[expect.any(String), "three"]]);
    await expectSame(a.engine, b.engine);
  });

  test("a sealed branch of the name that is deleted elsewhere goes; one that is made again is another", async () => {
    const { a, b } = await pair();
    const { sealed } = await a.engine.promote(FIX, MAIN);
    await send(a.engine, b.engine);
    await b.engine.deleteBranch(sealed);
    await send(b.engine, a.engine);
    expect(names(a.engine)).toEqual(["fix", "main"]);
    await expectSame(a.engine, b.engine);
  });
});

describe("undo", () => {
  test("a rewind of a rewind", async () => {
    const { engine, eggs, carrots } = await shopping();
    await engine.rewind(MAIN, eggs);
    await engine.rewind(MAIN, carrots);
    expect(await keysOf(engine)).toEqual(["/carrots", "/eggs", "/milk"]);
  });

  test("a promote: rewound to the sealed branch, here and on a machine that pulled the promote", async () => {
    const { engine } = await shopping();
    const b = await emptyMachine(2);
    const { sealed } = await engine.promote(FIX, MAIN);
    await send(engine, b.engine);
    const { state } = await engine.rewind(MAIN, await engine.resolve(sealed));
    expect(await keysOf(engine)).toEqual(["/carrots", "/eggs", "/milk"]);
    expect(await send(engine, b.engine)).toContainEqual(
      expect.objectContaining({ name: "main", result: "fast-forward", head: state }),
    );
    expect(await keysOf(b.engine)).toEqual(["/carrots", "/eggs", "/milk"]);
    // And the promote once more, by the branch that is still there.
    await engine.promote(FIX, MAIN);
    expect(await keysOf(engine)).toEqual(["/bread", "/eggs", "/milk"]);
    await send(engine, b.engine);
    await expectSame(engine, b.engine);
  });

  test("the deletion of a branch: forked again from the commit that the reflog names", async () => {
    const { engine, bread } = await shopping();
    await engine.deleteBranch(FIX);
    const [entry] = await engine.reflog(undefined, 1);
    expect(entry).toMatchObject({ name: "fix", to: null, from: bread });
    await engine.fork(FIX, entry?.from as Hash);
    expect(await keysOf(engine, FIX)).toEqual(["/bread", "/eggs", "/milk"]);
  });
});
