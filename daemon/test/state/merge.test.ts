import {
  type BranchName,
  type Hash,
  type Key,
  LIMITS,
  MAIN,
  type MergePolicy,
  parseKey,
  sha256,
} from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { conflictKey } from "../../src/state/conflict-key.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { contents, contract, key, type Opened, op, put } from "./harness.ts";
import { machine, meet, send } from "./machines.ts";

/** Two machines with the same state. */
async function pair(
  values: Record<string, string> = {},
  policies: Record<string, MergePolicy> = {},
): Promise<{ a: Opened; b: Opened; base: Hash }> {
  const [a, b] = [await machine(1, contract(policies)), await machine(2, contract(policies))];
  const base = (await put(a.engine, { "/base": "0", ...values })) as Hash;
  await send(a.engine, b.engine);
  b.clock.tick(10);
  return { a, b, base };
}

const conflictAt = (name: string, value: string): string =>
  Buffer.from(conflictKey(key(name), sha256(value)), "latin1").toString("utf8");

/** Both hear of each other, and must have the same commit then. */
async function met(a: Opened, b: Opened): Promise<Record<string, string>> {
  await meet(a.engine, b.engine);
  expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
  for (const { engine } of [a, b]) expect((await engine.verify()).damage).toEqual([]);
  return await contents(a.engine);
}

const list = async (engine: StateEngine) => {
  const { event } = await engine.commit(engine.branch(MAIN).head);
  const [hash, size] = event.values?.["conflicts"] ?? [sha256("no list"), 0];
  return JSON.parse(Buffer.from(await engine.requiredValue(hash, size)).toString("utf8")) as Record<string, unknown>[];
};

describe("policies", () => {
  test("keep-both: the newer stays, the other goes beside it, and the commit lists it", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/k": "older" });
    await put(b.engine, { "/k": "newer" });
    const kept = conflictAt("/k", "older");
    expect(await met(a, b)).toEqual({ "/base": "0", "/k": "newer", [kept]: "older" });
    expect(await list(b.engine)).toEqual([
      { space: "kv", key: "/k", kept, winner: sha256("newer"), loser: sha256("older") },
    ]);
  });

  test("the longest prefix counts, by bytes", async () => {
    const { a, b } = await pair({}, { "/": "newest", "/é": "keep-both", "/é/n/": "newest" });
    const [older, newer] = ["older", "newer"].map((value) => ({
      "/x": value,
      "/é/k": value,
      "/é/n/k": value,
      "no slash": value,
    }));
    await put(a.engine, older as Record<string, string>);
    await put(b.engine, newer as Record<string, string>);
    expect(await met(a, b)).toEqual({
      "/base": "0",
      "/x": "newer",
      "/é/k": "newer",
      [conflictAt("/é/k", "older")]: "older",
      "/é/n/k": "newer",
      "no slash": "newer",
      [conflictAt("no slash", "older")]: "older",
    });
  });

  test("of equal times the commit with the greater hash is the newer", async () => {
    const [a, b] = [await machine(1), await machine(2)];
    const heads = await Promise.all([put(a.engine, { "/k": "a" }), put(b.engine, { "/k": "b" })]);
    const winner = heads[0] > heads[1] ? "a" : "b";
    expect((await met(a, b))["/k"]).toBe(winner);
  });

  test("the same value on both sides is no conflict", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/k": "same" });
    await put(b.engine, { "/k": "same", "/other": "1" });
    expect(await met(a, b)).toEqual({ "/base": "0", "/k": "same", "/other": "1" });
  });

  test("a change beats a delete, also of keys that were deleted and made again", async () => {
    const { a, b } = await pair({ "/one": "0", "/two": "0", "/three": "0" });
    await put(a.engine, { "/one": null, "/two": "changed", "/three": null });
    await put(a.engine, { "/three": "again" });
    await put(b.engine, { "/one": "changed", "/two": null, "/three": null });
    expect(await met(a, b)).toEqual({ "/base": "0", "/one": "changed", "/two": "changed", "/three": "again" });
  });

  test("policies of a contract that one side changed count in the merge itself", async () => {
    const { a, b } = await pair();
    await a.engine.setContract(contract({ "/k": "newest" }));
    await put(a.engine, { "/k": "older" });
    await put(b.engine, { "/k": "newer" });
    expect(await met(a, b)).toEqual({ "/base": "0", "/k": "newer" });
  });
});

describe("who is newer", () => {
  test("the commit that changed the key counts, not the head", async () => {
    const { a, b } = await pair();
    a.clock.tick(100);
    await put(a.engine, { "/k": "newer" });
    await put(b.engine, { "/k": "older" });
    b.clock.tick(5000);
    await put(b.engine, { "/other": "much later" });
    expect((await met(a, b))["/k"]).toBe("newer");
  });

  test("a merge does not make what it took newer", async () => {
    const { a, b } = await pair();
    const c = await machine(3);
    await put(a.engine, { "/k": "old" });
    // The merge of a and b is as late as b's write, and that is not what counts for /k.
    b.clock.tick(60_000);
    await put(b.engine, { "/x": "b" });
    await meet(a.engine, b.engine);
    c.clock.tick(20);
    await put(c.engine, { "/k": "newer" });
    await send(b.engine, c.engine);
    expect((await contents(c.engine))["/k"]).toBe("newer");
  });

  test("a rewind counts for every key that it changed", async () => {
    const { a, b, base } = await pair({ "/k": "first", "/same": "0" });
    await put(a.engine, { "/k": "second" });
    await send(a.engine, b.engine);
    await put(b.engine, { "/k": "third" });
    a.clock.tick(60_000);
    await a.engine.rewind(MAIN, base);
    expect(await met(a, b)).toEqual({
      "/base": "0",
      "/k": "first",
      "/same": "0",
      [conflictAt("/k", "third")]: "third",
    });
  });

  test("a clock that goes back does not make history go back", async () => {
    const { a } = await pair();
    a.clock.tick(-1_000_000);
    const head = (await put(a.engine, { "/k": "1" })) as Hash;
    const commit = await a.engine.commit(head);
    const parent = await a.engine.commit(commit.parents[0] as Hash);
    expect(commit.time).toBe(parent.time);
  });
});

describe("rewind on one side", () => {
  test("what the other wrote meanwhile stays, what it left alone is rewound", async () => {
    const { a, b, base } = await pair();
    await put(a.engine, { "/x": "1", "/y": "1" });
    await send(a.engine, b.engine);
    await a.engine.rewind(MAIN, base);
    await put(b.engine, { "/y": "2", "/z": "2" });
    expect(await met(a, b)).toEqual({ "/base": "0", "/y": "2", "/z": "2" });
  });

  test("on both sides to different states", async () => {
    const { a, b, base } = await pair();
    const middle = (await put(a.engine, { "/x": "1" })) as Hash;
    await put(a.engine, { "/y": "1" });
    await send(a.engine, b.engine);
    await a.engine.rewind(MAIN, base);
    await b.engine.rewind(MAIN, middle);
    expect(await met(a, b)).toEqual({ "/base": "0" });
  });
});

describe("several common ancestors", () => {
  test("criss-cross: both merged the same heads, and went on", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/k": "a", "/a": "1" });
    await put(b.engine, { "/k": "b", "/b": "1" });
    // Forks keep the heads, so that both sides merge them again under another branch's id.
    const [headA, headB] = [a.engine.branch(MAIN).head, b.engine.branch(MAIN).head];
    await meet(a.engine, b.engine);
    const one = "one" as BranchName;
    const two = "two" as BranchName;
    await a.engine.fork(one, headA);
    await a.engine.fork(two, headB);
    await a.engine.merge(one, headB);
    await a.engine.merge(two, headA);
    // The same two parents, named from either side: one and the same merge but for the branch.
    const [mergedOne, mergedTwo] = [
      await a.engine.commit(a.engine.branch(one).head),
      await a.engine.commit(a.engine.branch(two).head),
    ];
    expect({ ...mergedOne, branch: mergedTwo.branch }).toEqual(mergedTwo);
    expect(mergedOne.branch).not.toBe(mergedTwo.branch);
    await put(a.engine, { "/a": "one" }, one);
    await put(a.engine, { "/b": "two" }, two);
    const reply = await a.engine.merge(one, a.engine.branch(two).head);
    expect(reply).toMatchObject({ kind: "merge", conflicts: [] });
    const kept = conflictAt("/k", "a");
    expect(await contents(a.engine, "one")).toEqual({ "/base": "0", "/k": "b", [kept]: "a", "/a": "one", "/b": "two" });
    expect((await a.engine.verify()).damage).toEqual([]);
  });

  test("a conflict that was resolved by hand does not come back", async () => {
    const { a, b } = await pair();
    await put(a.engine, { "/k": "a" });
    await put(b.engine, { "/k": "b" });
    await meet(a.engine, b.engine);
    await put(a.engine, { "/k": "resolved", [conflictAt("/k", "a")]: null });
    await put(b.engine, { "/elsewhere": "1" });
    expect(await met(a, b)).toEqual({ "/base": "0", "/k": "resolved", "/elsewhere": "1" });
  });

  test("a value that loses again after its copy was deleted is kept again, whichever parent comes first", async () => {
    const firsts = new Set<boolean>();
    for (let i = 0; i < 12; i++) {
      const { a, b } = await pair({ "/k": "0", "/salt": `${i}` });
      const copy = conflictAt("/k", "loses");
      await put(a.engine, { [copy]: "loses" });
      await send(a.engine, b.engine);
      await put(a.engine, { "/k": "loses" });
      await put(b.engine, { "/k": "wins", [copy]: null });
      firsts.add(a.engine.branch(MAIN).head < b.engine.branch(MAIN).head);
      expect(await met(a, b)).toEqual({ "/base": "0", "/salt": `${i}`, "/k": "wins", [copy]: "loses" });
    }
    expect(firsts.size).toBe(2);
  });
});

describe("three machines", () => {
  test("that all merge with all at once agree after one more round", async () => {
    const machines = [await machine(1), await machine(2), await machine(3)] as const;
    for (const [i, { engine, clock }] of machines.entries()) {
      clock.tick(i * 10);
      await put(engine, { "/k": `by ${i}`, [`/own/${i}`]: "1" });
    }
    const [a, b, c] = machines;
    await meet(a.engine, b.engine);
    await meet(b.engine, c.engine);
    await meet(a.engine, c.engine);
    await meet(b.engine, c.engine);
    await meet(a.engine, b.engine);
    expect(new Set(machines.map(({ engine }) => engine.branch(MAIN).head)).size).toBe(1);
    expect(await contents(a.engine)).toEqual({
      "/k": "by 2",
      [conflictAt("/k", "by 0")]: "by 0",
      [conflictAt("/k", "by 1")]: "by 1",
      "/own/0": "1",
      "/own/1": "1",
      "/own/2": "1",
    });
  });
});

describe("the vectors' space", () => {
  test("merges as keys do, and apart from them", async () => {
    const { a, b } = await pair();
    const write = (engine: StateEngine, name: string, value: string) =>
      engine.write({ space: "vectors", kind: "vector.put", branch: MAIN, ops: [op(name, value)] });
    await write(a.engine, "/v", "older");
    await write(b.engine, "/v", "newer");
    await write(a.engine, "/only a", "1");
    await put(b.engine, { "/v": "a key of the same name" });
    expect(await met(a, b)).toEqual({ "/base": "0", "/v": "a key of the same name" });
    const entries = await (await a.engine.stateOf()).list("vectors", { limit: 10 });
    expect(entries.map((entry) => [entry.key, entry.hash])).toEqual([
      ["/only a", sha256("1")],
      ["/v", sha256("newer")],
      [conflictKey(key("/v"), sha256("older")), sha256("older")],
    ]);
    expect((await list(a.engine))[0]).toMatchObject({ space: "vectors" });
  });
});

describe("conflict keys", () => {
  test("are cut to fit, at a character's end", () => {
    for (const character of ["a", "é", "日", "🦋"]) {
      for (let pad = 0; pad < 4; pad++) {
        const width = Buffer.byteLength(character);
        const name = "p".repeat(pad) + character.repeat(Math.floor((LIMITS.keyBytes - pad) / width));
        const made = conflictKey(parseKey(name), sha256("x"));
        expect(made.length).toBeLessThanOrEqual(LIMITS.keyBytes);
        expect(made.length).toBeGreaterThan(LIMITS.keyBytes - width);
        const text = Buffer.from(made, "latin1").toString("utf8");
        expect(parseKey(text)).toBe(made);
        expect(name.startsWith(text.slice(0, text.indexOf(".conflict-")))).toBe(true);
      }
    }
    const short = conflictKey("/k" as Key, sha256("x"));
    expect(short).toMatch(/^\/k\.conflict-[0-9a-f]{16}$/);
  });

  test("differ for two long keys with the same start, and for two values", () => {
    const names = ["a", "b"].map((end) => parseKey("x".repeat(1023) + end)) as [Key, Key];
    const keys = names.flatMap((name) => [conflictKey(name, sha256("1")), conflictKey(name, sha256("2"))]);
    expect(new Set(keys).size).toBe(4);
  });

  test("of long keys hold both values after a merge", async () => {
    const { a, b } = await pair();
    const name = `/${"é".repeat(511)}`;
    await put(a.engine, { [name]: "older" });
    await put(b.engine, { [name]: "newer" });
    expect(await met(a, b)).toEqual({ "/base": "0", [name]: "newer", [conflictAt(name, "older")]: "older" });
  });
});

describe("large merges", () => {
  test("of 1,000 changes on each side have a change list, and 300 conflicts", async () => {
    const { a, b } = await pair();
    const values = (from: number, by: string) =>
      Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`/k/${from + i}`, by]));
    await put(a.engine, values(0, "a"));
    await put(b.engine, values(700, "b"));
    const merged = await met(a, b);
    expect(Object.keys(merged)).toHaveLength(1 + 1700 + 300);
    expect(typeof (await a.engine.commit(a.engine.branch(MAIN).head)).changes).toBe("string");
    expect(await list(a.engine)).toHaveLength(300);
  });
});
