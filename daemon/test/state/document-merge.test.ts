import { type BranchName, type Commit, type Hash, MAIN, type MergePolicy, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { conflictKey } from "../../src/state/conflict-key.ts";
import { listedConflicts } from "../../src/state/merge-conflict.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import type { Kind } from "../../src/storage/object-storage.ts";
import { AGENT, contents, contract, key, type Opened, op, openEngine, put } from "./harness.ts";
import { machine, meet, objectsFor, send, take } from "./machines.ts";
import { FaultyObjects } from "./storage-faults.ts";
import { noise } from "./property.ts";

const F = "f" as BranchName;

/** Memory storage that has lost a value. */
class LosingObjects extends MemoryObjects {
  lost: Hash | null = null;

  constructor() {
    super("memory://losing");
  }

  override async read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    const found = await super.read(kind, hashes);
    return found.map((bytes, i) => (hashes[i] === this.lost ? null : bytes));
  }
}

const POLICIES = { "/json/": "json", "/lines/": "lines", "/newest/": "newest" } as const;

async function pair(
  values: Record<string, string | Uint8Array> = {},
  policies: Record<string, MergePolicy> = POLICIES,
): Promise<{ a: Opened; b: Opened; base: Hash }> {
  const [a, b] = [await machine(1, contract(policies)), await machine(2, contract(policies))];
  const base = (await put(a.engine, { "/base": "0", ...values })) as Hash;
  await send(a.engine, b.engine);
  b.clock.tick(10);
  return { a, b, base };
}

/** Both hear of each other, and must have the same commit then. Gives what is not `/base`. */
async function met(a: Opened, b: Opened): Promise<Record<string, string>> {
  await meet(a.engine, b.engine);
  expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
  for (const { engine } of [a, b]) expect((await engine.verify()).damage).toEqual([]);
  const { "/base": _, ...rest } = await contents(a.engine);
  return rest;
}

const headOf = ({ engine }: Opened): Hash => engine.branch(MAIN).head;
const listOf = async (engine: StateEngine) => listedConflicts(engine, await engine.commit(engine.branch(MAIN).head));
const copyOf = (name: string, value: string | Uint8Array): string =>
  Buffer.from(conflictKey(key(name), sha256(value)), "latin1").toString("utf8");

describe("json and lines", () => {
  test("two machines that each add an item end with both, and no conflict is listed", async () => {
    const { a, b } = await pair({ "/json/todos": '["milk"]', "/lines/log": "one\n" });
    await put(a.engine, { "/json/todos": '["milk","eggs"]', "/lines/log": "one\ntwo\n" });
    await put(b.engine, { "/json/todos": '["milk","call Ann"]', "/lines/log": "one\nthree\n" });
    expect(await met(a, b)).toEqual({
      "/json/todos": '["milk","eggs","call Ann"]',
      "/lines/log": "one\ntwo\nthree\n",
    });
    expect(await listOf(a.engine)).toEqual([]);
    // What comes out of a merge is merged again like any other value.
    await put(a.engine, { "/json/todos": '["milk","eggs","call Ann","a"]' });
    await put(b.engine, { "/json/todos": '["eggs","call Ann"]' });
    expect(await met(a, b)).toMatchObject({ "/json/todos": '["eggs","call Ann","a"]' });
  });

  test("also when each made the list itself", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/json/todos": '["eggs"]' });
    await put(b.engine, { "/json/todos": '["call Ann"]' });
    expect(await met(a, b)).toEqual({ "/json/todos": '["eggs","call Ann"]' });
  });

  test("what both changed is the newer one's, listed with its place, and the other is in history", async () => {
    const { a, b } = await pair({ "/json/x": '{"n":1,"a":1}', "/lines/x": "1\n2\n" });
    const older = { "/json/x": '{"n":2,"a":2}', "/lines/x": "1a\n2\n" };
    const newer = { "/json/x": '{"n":3,"a":1}', "/lines/x": "1b\n2\n3\n" };
    const past = await put(a.engine, older);
    await put(b.engine, newer);
    expect(await met(a, b)).toEqual({ "/json/x": '{"n":3,"a":2}', "/lines/x": "1b\n2\n3\n" });
    expect(await listOf(b.engine)).toEqual(
      [
        { key: "/json/x" as const, places: ["/n"] },
        { key: "/lines/x" as const, places: ["1,1"] },
      ].map(({ key: name, places }) => ({
        space: "kv",
        key: key(name),
        kept: null,
        winner: sha256(newer[name]),
        loser: sha256(older[name]),
        places,
      })),
    );
    expect(await contents(b.engine, past)).toMatchObject(older);
  });

  test("what is not JSON, not text or too large is kept beside, and it is said why", async () => {
    const large = Buffer.alloc(4 * 1024 * 1024 + 1, "1");
    const { a, b } = await pair({ "/json/a": "[]", "/lines/b": "", "/json/c": "[]" });
    await put(a.engine, { "/json/a": "[1]", "/lines/b": "a\0", "/json/c": "[1]" });
    await put(b.engine, { "/json/a": "not JSON", "/lines/b": "b", "/json/c": large });
    const merged = await met(a, b);
    expect(merged[copyOf("/json/a", "[1]")]).toBe("[1]");
    expect(merged[copyOf("/lines/b", "a\0")]).toBe("a\0");
    expect(merged[copyOf("/json/c", "[1]")]).toBe("[1]");
    expect((await listOf(a.engine)).map(({ why }) => why)).toEqual(["not-json", "too-large", "not-text"]);
  });

  test("one merge reads 64 MiB of documents; those behind, in the order of their keys, are kept beside", async () => {
    const names = Array.from({ length: 8 }, (_, i) => `/lines/${i}`);
    const text = `${noise(1, 1_500_000).toString("hex")}\n`;
    const all = (line: string): Record<string, string> =>
      Object.fromEntries(names.map((name) => [name, `${text}${line}`]));
    const { a, b } = await pair(all(""));
    await put(a.engine, all("a\n"));
    await put(b.engine, all("b\n"));
    const merged = await met(a, b);
    expect(names.map((name) => merged[name]?.slice(text.length))).toEqual([
      ...Array.from({ length: 7 }, () => "a\nb\n"),
      "b\n",
    ]);
    expect(merged[copyOf("/lines/7", `${text}a\n`)]).toBe(`${text}a\n`);
    expect((await listOf(a.engine)).map(({ why }) => why)).toEqual(["too-large"]);
  });

  test("large documents are stored in chunks, and read from them", async () => {
    const item = (i: number): string => noise(i, 30).toString("hex");
    const many = Array.from({ length: 3000 }, (_, i) => item(i));
    const { a, b } = await pair({ "/json/x": JSON.stringify(many) });
    await put(a.engine, { "/json/x": JSON.stringify([...many, "a"]) });
    await put(b.engine, { "/json/x": JSON.stringify(["b", ...many]) });
    expect(await met(a, b)).toEqual({ "/json/x": JSON.stringify(["b", ...many, "a"]) });
  });

  test("several common ancestors: their documents are merged first, and what comes of it is the base", async () => {
    const { a, b } = await pair({ "/json/x": '["0"]' });
    await put(a.engine, { "/json/x": '["0","a"]' });
    await put(b.engine, { "/json/x": '["0","b"]' });
    const [headA, headB] = [headOf(a), headOf(b)];
    await meet(a.engine, b.engine);
    const [one, two] = ["one" as BranchName, "two" as BranchName];
    await a.engine.fork(one, headA);
    await a.engine.fork(two, headB);
    await a.engine.merge(one, headB);
    await a.engine.merge(two, headA);
    await put(a.engine, { "/json/x": '["a","b"]' }, one);
    await put(a.engine, { "/json/x": '["0","a","b","c"]' }, two);
    const reply = await a.engine.merge(one, a.engine.branch(two).head);
    expect(reply).toMatchObject({ kind: "merge", conflicts: [] });
    expect(await contents(a.engine, "one")).toMatchObject({ "/json/x": '["a","b","c"]' });
  });

  test("values and contracts that are not durable yet count as well", async () => {
    const storage = new FaultyObjects();
    const { engine, clock } = await openEngine({ storage, contract: contract(POLICIES) });
    const base = (await put(engine, { "/json/x": "[]" })) as Hash;
    await engine.fork(F, base);
    const head = (await put(engine, { "/json/x": '["a"]' }, F)) as Hash;
    clock.tick();
    const large = JSON.stringify(Array.from({ length: 2000 }, (_, i) => noise(i, 30).toString("hex")));
    const before = storage.applies;
    await Promise.all([
      engine.setContract(contract({ "/json/": "json", "/more/": "lines" })),
      put(engine, { "/json/x": large }),
      engine.merge(MAIN, head),
    ]);
    expect(storage.applies - before, "all in one transaction").toBe(1);
    expect((await contents(engine))["/json/x"] === `["a",${large.slice(1)}`).toBe(true);
  });

  test("a value that is missing here stops the merge: nothing is decided by what is at hand", async () => {
    const storage = new LosingObjects();
    const { engine, clock } = await openEngine({ storage, contract: contract(POLICIES) });
    const base = (await put(engine, { "/json/x": "[]" })) as Hash;
    await engine.fork(F, base);
    await put(engine, { "/json/x": '["a"]' });
    clock.tick();
    await put(engine, { "/json/x": '["b"]' }, F);
    for (const lost of ['["a"]', '["b"]', "[]"].map((text) => sha256(text))) {
      storage.lost = lost;
      // Opened anew, with nothing in memory.
      const { engine: again } = await openEngine({ storage, contract: contract(POLICIES) });
      const heads = again.liveBranches();
      const refused = { code: "unavailable", details: { hash: lost } };
      await expect(again.merge(F, again.branch(MAIN).head)).rejects.toMatchObject(refused);
      expect(again.liveBranches()).toEqual(heads);
    }
    storage.lost = null;
    await engine.merge(F, engine.branch(MAIN).head);
    expect(await contents(engine, "f")).toMatchObject({ "/json/x": '["a","b"]' });
  });

  test("vector records are no documents: of these the newest stays", async () => {
    const { a, b } = await pair();
    const write = (engine: StateEngine, name: string, value: string) =>
      engine.write({ space: "vectors", kind: "vector.put", branch: MAIN, ops: [op(name, value)] });
    for (const name of ["/json/v", "/lines/v", "/newest/v", "/v"]) {
      await write(a.engine, name, "[1]");
      await write(b.engine, name, "[2]");
    }
    await met(a, b);
    const entries = await (await a.engine.stateOf()).list("vectors", { limit: 10 });
    expect(entries.map((entry) => [entry.key, entry.hash])).toEqual([
      ["/json/v", sha256("[2]")],
      ["/lines/v", sha256("[2]")],
      ["/newest/v", sha256("[2]")],
      ["/v", sha256("[2]")],
      [conflictKey(key("/v"), sha256("[1]")), sha256("[1]")],
    ]);
    expect((await listOf(a.engine)).map(({ kept }) => kept === null)).toEqual([true, true, true, false]);
  });
});

describe("a dry run", () => {
  test("says what the merge would do, and does nothing", async () => {
    const { a, b } = await pair({ "/k": "0", "/json/x": '{"n":0}' });
    await put(a.engine, { "/k": "a", "/json/x": '{"n":1}' });
    await put(b.engine, { "/k": "b", "/json/x": '{"n":2}' });
    await b.engine.receive(await objectsFor(a.engine, [headOf(a)], [headOf(b)]));
    const [before, usage, reflog] = [b.engine.branches(), await b.engine.usage(), await b.engine.reflog(MAIN, 100)];
    const dry = await b.engine.merge(MAIN, headOf(a), { dry: true }, "an id");
    expect(dry).toMatchObject({ kind: "merge", state: headOf(b), ours: headOf(b) });
    expect(b.engine.branches()).toEqual(before);
    expect(await b.engine.usage()).toEqual(usage);
    expect(await b.engine.reflog(MAIN, 100)).toEqual(reflog);
    // The id was not used up, and the merge does what was said.
    const wet = await b.engine.merge(MAIN, headOf(a), {}, "an id");
    expect(wet).toMatchObject({ kind: "merge", conflicts: dry.conflicts });
    expect(wet.conflicts.map(({ policy, places }) => [policy, places])).toEqual([
      ["json", ["/n"]],
      ["keep-both", undefined],
    ]);
    expect(wet.conflicts.map(({ winnerFrom }) => wet.parents[winnerFrom])).toEqual([dry.ours, dry.ours]);
  });

  test("of a fast-forward, and of nothing to do", async () => {
    const { a, base } = await pair();
    await a.engine.fork(F, base);
    const next = (await put(a.engine, { "/x": "1" })) as Hash;
    const into = F;
    expect(await a.engine.merge(into, next, { dry: true })).toMatchObject({ kind: "fast-forward", state: base });
    expect(a.engine.branch(into).head).toBe(base);
    expect(await a.engine.merge(MAIN, base, { dry: true })).toMatchObject({ kind: "nothing", state: next });
  });
});

describe("ours and theirs", () => {
  /** b knows what a wrote, and has merged nothing yet. */
  async function apart(): Promise<{ a: Opened; b: Opened; base: Hash; headA: Hash; headB: Hash }> {
    const { a, b, base } = await pair({ "/k": "0", "/json/x": "[0]", "/del": "0", "/gone": "0" });
    await put(a.engine, { "/k": "a", "/json/x": "[0,1]", "/only a": "1", "/del": null, "/gone": "a" });
    await put(b.engine, { "/k": "b", "/json/x": "[0,2]", "/only b": "1", "/del": "b", "/gone": null });
    // A vector that both changed has the name of a key that one did.
    for (const { engine } of [a, b]) {
      const ops = [op("/only a", engine === a.engine ? "a" : "b")];
      await engine.write({ space: "vectors", kind: "vector.put", branch: MAIN, ops });
    }
    await b.engine.receive(await objectsFor(a.engine, [headOf(a)], [headOf(b)]));
    return { a, b, base, headA: headOf(a), headB: headOf(b) };
  }
  const OURS = { "/base": "0", "/k": "b", "/json/x": "[0,2]", "/only a": "1", "/only b": "1", "/del": "b" };
  const THEIRS = { "/base": "0", "/k": "a", "/json/x": "[0,1]", "/only a": "1", "/only b": "1", "/gone": "a" };

  for (const [prefer, state] of [
    ["ours", OURS],
    ["theirs", THEIRS],
  ] as const) {
    test(`${prefer} decides the keys that both changed, deletions too, and the commit says so`, async () => {
      const { b, headA, headB } = await apart();
      b.clock.tick(1000);
      const reply = await b.engine.merge(MAIN, headA, { prefer });
      expect(await contents(b.engine)).toEqual(state);
      const winner = prefer === "ours" ? headB : headA;
      expect(await b.engine.commit(reply.state)).toMatchObject({
        event: { kind: "merge", info: { prefer: winner } },
        device: "00000000000000000000000000000002",
        time: b.clock.now().toISOString(),
        parents: [headA, headB].sort(),
      });
      expect(reply.conflicts.map((one) => [one.key, one.kept, one.winner === null])).toEqual([
        [prefer === "ours" ? "/gone" : "/del", null, true],
        ["/json/x", null, false],
        ["/k", null, false],
        ["/only a", null, false],
      ]);
      expect(new Set(reply.conflicts.map(({ winnerFrom }) => reply.parents[winnerFrom]))).toEqual(new Set([winner]));
      // The other values are in history.
      expect(await contents(b.engine, headA)).toMatchObject({ "/k": "a" });
      expect(await contents(b.engine, headB)).toMatchObject({ "/k": "b" });
    });

    test(`${prefer} meets the merge that another machine made by itself: the choice holds on both`, async () => {
      for (let i = 0; i < 4; i++) {
        const { a, b, headA } = await apart();
        b.clock.tick(i);
        await send(b.engine, a.engine);
        expect((await a.engine.commit(headOf(a))).event.info).toBeUndefined();
        await put(a.engine, { "/later": "1" });
        await b.engine.merge(MAIN, headA, { prefer });
        await meet(a.engine, b.engine);
        expect(headOf(a)).toBe(headOf(b));
        expect(await contents(a.engine)).toEqual({ ...state, "/later": "1" });
      }
    });
  }

  test("with nothing to choose it is the merge that every machine makes", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/a": "1" });
    await put(b.engine, { "/b": "1" });
    await b.engine.receive(await objectsFor(a.engine, [headOf(a)], [headOf(b)]));
    b.clock.tick(1000);
    await b.engine.merge(MAIN, headOf(a), { prefer: "theirs" });
    const { state } = await (async () => {
      await a.engine.receive(await objectsFor(b.engine, [headOf(b)], [headOf(a)]));
      const parents = (await b.engine.commit(headOf(b))).parents;
      return await a.engine.merge(MAIN, parents.find((hash) => hash !== headOf(a)) as Hash);
    })();
    expect(state).toBe(headOf(b));
  });

  test("two people choose differently: both machines come to the same", async () => {
    const { a, b, headA, headB } = await apart();
    await a.engine.receive(await objectsFor(b.engine, [headB], [headA]));
    await a.engine.merge(MAIN, headB, { prefer: "ours" });
    b.clock.tick(50);
    await b.engine.merge(MAIN, headA, { prefer: "ours" });
    expect(headOf(a)).not.toBe(headOf(b));
    const merged = await met(a, b);
    // By themselves the machines would have taken b's value of /k: a's person changed that.
    expect(merged).toMatchObject({ "/k": "a" });
  });

  test("a choice counts as a change of what it decided, when it was made, and of nothing else", async () => {
    const { a, b, base, headA } = await apart();
    const c = await machine(3, contract(POLICIES));
    const branches = [{ ...a.engine.branch(MAIN), head: base }];
    await take(c.engine, { objects: await objectsFor(a.engine, [base]), branches });
    // b chooses a's values late; c changes them before that, without having seen either's.
    b.clock.tick(1000);
    await b.engine.merge(MAIN, headA, { prefer: "ours" });
    c.clock.tick(500);
    await put(c.engine, { "/k": "c", "/only a": "c" });
    await meet(b.engine, c.engine);
    expect(headOf(b)).toBe(headOf(c));
    expect(await contents(c.engine)).toMatchObject({ "/k": "b", [copyOf("/k", "c")]: "c", "/only a": "c" });
  });

  test("a contract that both changed is decided as well", async () => {
    const { a, b } = await pair();
    await a.engine.setContract(contract({ "/a/": "newest" }));
    await b.engine.setContract(contract({ "/b/": "newest" }));
    await b.engine.receive(await objectsFor(a.engine, [headOf(a)], [headOf(b)]));
    const reply = await b.engine.merge(MAIN, headOf(a), { prefer: "theirs" });
    expect(await b.engine.contract()).toEqual(contract({ "/a/": "newest" }));
    expect((await b.engine.commit(reply.state)).event.info).toEqual({ prefer: headOf(a) });
  });

  test("a retry with its id joins the choice, and another choice with it is refused", async () => {
    const { b, headA } = await apart();
    const first = await b.engine.merge(MAIN, headA, { prefer: "ours" }, "id");
    expect(await b.engine.merge(MAIN, headA, { prefer: "ours" }, "id")).toEqual(first);
    await expect(b.engine.merge(MAIN, headA, { prefer: "theirs" }, "id")).rejects.toMatchObject({ code: "conflict" });
  });
});

describe("the list of a merge commit", () => {
  const commit = (kind: "merge" | "kv.put", size = 1): Commit => ({
    v: 1,
    agent: AGENT,
    parents: [],
    snapshot: sha256("x"),
    event: { kind, values: { conflicts: [sha256("list"), size] } },
  });
  const source = (text: string) => ({ value: async () => Buffer.from(text) });
  const one = { space: "kv", key: "/k", kept: null, winner: null, loser: sha256("x") };

  test("counts as empty when it is none: commits come from anywhere", async () => {
    expect(await listedConflicts(source(JSON.stringify([one])), commit("merge"))).toEqual([one]);
    for (const bad of [
      "",
      "{}",
      "null",
      "[null]",
      "[1]",
      JSON.stringify([one, { ...one, space: "x" }]),
      JSON.stringify([{ ...one, key: "" }]),
      JSON.stringify([{ ...one, kept: 1 }]),
      JSON.stringify([{ ...one, loser: null }]),
      JSON.stringify([{ ...one, winner: "x" }]),
    ]) {
      expect(await listedConflicts(source(bad), commit("merge")), bad).toEqual([]);
    }
    expect(await listedConflicts(source(JSON.stringify([one])), commit("kv.put"))).toEqual([]);
    expect(await listedConflicts(source(JSON.stringify([one])), commit("merge", 16 * 1024 * 1024 + 1))).toEqual([]);
  });

  test("is an error when it is not here", async () => {
    await expect(listedConflicts({ value: async () => null }, commit("merge"))).rejects.toMatchObject({
      code: "unavailable",
    });
  });
});

describe("golden", () => {
  test("a merge of documents, and a choice", async () => {
    const { a, b } = await pair({ "/json/x": '{"list":[{"id":1,"n":1}],"é":1}', "/lines/x": "1\r\n2\r\n" });
    await put(a.engine, { "/json/x": '{"list":[{"id":1,"n":2},"a"],"é":1}', "/lines/x": "1\r\n2a\r\n3\r\n" });
    await put(b.engine, { "/json/x": '{ "list": [ "b", {"id":1,"n":3} ] }', "/lines/x": "0\r\n1\r\n2b\r\n" });
    const [headA] = [headOf(a)];
    const c = await machine(3, contract(POLICIES));
    await send(b.engine, c.engine);
    expect(await met(a, b)).toEqual({
      "/json/x": '{ "list": [ "b", {"id":1,"n":3}, "a" ] }',
      "/lines/x": "0\r\n1\r\n2b\r\n",
    });
    expect((await listOf(a.engine)).map(({ places }) => places)).toEqual([["/list/1/n"], ["3,1"]]);
    expect(headOf(a)).toBe("2b5d184f72a15087d0978dff017f17ee76009af5d74fe8df6e7edf09bcde4c4b");
    await c.engine.receive(await objectsFor(a.engine, [headA], [headOf(c)]));
    expect((await c.engine.merge(MAIN, headA, { prefer: "theirs" })).state).toBe(
      "347b4af4232e50e3b79fc8e8f7a44415e21093d743eeb1a5cb82a754a23bb189",
    );
  });
});

test("a document of which a version was erased is kept twice, and both machines agree", async () => {
  const { a, b } = await pair({ "/json/todos": '["milk"]' });
  await put(a.engine, { "/json/todos": '["milk","eggs"]' });
  await put(b.engine, { "/json/todos": '["milk","call Ann"]' });
  await a.engine.retention.forget({ key: key("/json/todos"), isPrefix: false }, true);
  await meet(a.engine, b.engine);
  expect(headOf(a)).toBe(headOf(b));
  const copy = conflictKey(key("/json/todos"), sha256('["milk","eggs"]'));
  for (const { engine } of [a, b]) {
    expect(await listOf(engine)).toMatchObject([{ key: key("/json/todos"), kept: copy, why: "erased" }]);
    const view = await engine.stateOf();
    expect((await view.get("kv", key("/json/todos")))?.hash).toBe(sha256('["milk","call Ann"]'));
    expect((await engine.verify()).damage).toEqual([]);
  }
  await expect(a.engine.requiredValue(sha256('["milk","eggs"]'), 15)).rejects.toMatchObject({ code: "erased" });
});
