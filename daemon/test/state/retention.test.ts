import fc from "fast-check";
import { type BranchName, type Contract, type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { afterEach, describe, expect, test } from "vitest";
import type { StateEngine } from "../../src/state/engine.ts";
import { MemoryObjects } from "../../src/storage/backends/memory.ts";
import { contract, key, op } from "./harness.ts";
import { holds } from "./property.ts";
import { codeOf, DAY, newHome, openHome, put, stateAt } from "./retention-harness.ts";

const opened: StateEngine[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function open(retention: Contract["retention"]) {
  const home = newHome(new MemoryObjects("memory://retention"));
  const engine = await openHome(home, retention);
  opened.push(engine);
  return { engine, ...home };
}

describe("gc", () => {
  test("without [retention] nothing is dropped", async () => {
    const { engine, clock } = await open({});
    const first = await put(engine, "/a", "1");
    for (let i = 0; i < 100; i++) await put(engine, "/a", `${i}`);
    clock.tick(1000 * DAY);
    expect(await engine.retention.collect(true)).toMatchObject({ commits: { dropped: 0 }, objects: 0, drop: null });
    expect(await stateAt(engine, first)).toEqual({ "/a": sha256("1") });
  });

  test("drops what is old, says so in a dry run first, and undo brings it back", async () => {
    const { engine, storage, clock } = await open({ states: "1d" });
    const old = await put(engine, "/a", "old");
    for (let i = 0; i < 100; i++) await put(engine, `/k${i}`, `${i}`);
    const before = await put(engine, "/a", "before");
    clock.tick(2 * DAY);
    const recent = await put(engine, "/b", "recent");
    const dry = await engine.retention.collect(false);
    expect(dry).toMatchObject({ commits: { all: 105, dropped: 104, pruned: 104 }, drop: null });
    expect(await stateAt(engine, old)).toEqual({ "/a": sha256("old") });
    const kept = await stateAt(engine, recent);

    const report = await engine.retention.collect(true);
    expect(report).toMatchObject({ commits: { dropped: 104, pruned: 104 }, objects: dry.objects, bytes: dry.bytes });
    expect(report.bytes).toBeGreaterThan(100);
    expect(await codeOf(engine.view(old))).toBe("pruned");
    expect(await codeOf(engine.view(before))).toBe("pruned");
    expect(await codeOf(engine.verify(old))).toBe("pruned");
    expect(await storage.read("value", [sha256("old")])).toEqual([null]);
    expect(await stateAt(engine, recent)).toEqual(kept);
    expect((await engine.verify()).damage).toEqual([]);
    // The commits stay.
    expect((await engine.commit(old)).event.kind).toBe("kv.put");

    expect((await engine.retention.space()).quarantine).toMatchObject([{ commits: 104, objects: report.objects }]);
    await engine.retention.undo();
    expect(await stateAt(engine, old)).toEqual({ "/a": sha256("old") });
    expect((await engine.verify()).damage).toEqual([]);
    expect((await engine.retention.space()).quarantine).toEqual([]);
    expect(await codeOf(engine.retention.undo())).toBe("not_found");
  });
});

describe("what is kept", () => {
  test("the base of a merge to come, at any age, though it is no branch's beginning", async () => {
    const { engine, clock } = await open({ states: "1d" });
    const side = "side" as BranchName;
    const begin = await put(engine, "/a", "0");
    await engine.fork(side, begin);
    for (let i = 1; i < 5; i++) await put(engine, "/a", `${i}`);
    await put(engine, "/side", "1", side);
    const base = await engine.resolve(MAIN);
    await engine.merge(side, base);
    const merged = await engine.resolve(side);
    for (let i = 5; i < 9; i++) await put(engine, "/a", `${i}`);
    const between = await engine.resolve(MAIN);
    await put(engine, "/b", "main");
    await put(engine, "/side", "2", side);
    clock.tick(30 * DAY);
    const { commits } = await engine.retention.collect(true);
    expect(commits.dropped).toBeGreaterThan(5);
    expect(await codeOf(engine.view(between))).toBe("pruned");
    const history = [];
    for await (const { hash } of engine.timeline.history(key("/a"), await engine.resolve(MAIN))) history.push(hash);
    expect(history).toEqual(["8", "7", "6", "5", "4", "3", "2", "1", "0"].map(sha256));
    for (const hash of [begin, base, merged]) expect(await codeOf(engine.view(hash))).toBe("fine");
    const { conflicts } = await engine.merge(MAIN, await engine.resolve(side));
    expect(conflicts).toEqual([]);
    const state = await stateAt(engine, await engine.resolve(MAIN));
    expect(state).toEqual({ "/a": sha256("8"), "/b": sha256("main"), "/side": sha256("2") });
  });

  test("the base of several bases, which a merge merges with each other first", async () => {
    const { engine, clock } = await open({ states: "1d" });
    const side = "side" as BranchName;
    await engine.fork(side, await put(engine, "/begin", "1"));
    const base = await put(engine, "/a", "1");
    await engine.merge(side, base);
    // Twice across: both of these are bases of the two heads then, and `base` is theirs.
    for (const round of ["1", "2"]) {
      const [left, right] = [await put(engine, "/left", round), await put(engine, "/right", round, side)];
      await engine.merge(MAIN, right);
      await engine.merge(side, left);
    }
    for (let i = 0; i < 9; i++) await put(engine, "/a", `main ${i}`);
    const between = await engine.resolve(MAIN);
    for (const branch of [MAIN, side]) await put(engine, `/${branch}`, "1", branch);
    clock.tick(30 * DAY);
    await engine.retention.collect(true);
    expect(await codeOf(engine.view(between))).toBe("pruned");
    expect(await engine.merge(MAIN, await engine.resolve(side))).toMatchObject({ kind: "merge", conflicts: [] });
    const state = await stateAt(engine, await engine.resolve(MAIN));
    expect(state).toMatchObject({ "/a": sha256("main 8"), "/left": sha256("2"), "/right": sha256("2") });
  });

  test("heads of other machines, and where history parts on the way to them", async () => {
    const { storage, shelf, clock } = newHome();
    const others: Hash[] = [];
    const roots = () => ({ heads: async () => others });
    const engine = await openHome({ storage, shelf, clock }, { states: "1d" }, { roots });
    opened.push(engine);
    const base = await put(engine, "/a", "0");
    const middle = await put(engine, "/a", "1");
    await engine.fork("theirs" as BranchName, base);
    others.push(await put(engine, "/b", "theirs", "theirs" as BranchName));
    await engine.deleteBranch("theirs" as BranchName);
    await put(engine, "/a", "2");
    clock.tick(30 * DAY);
    await engine.retention.collect(true);
    for (const hash of [base, others[0] as Hash]) expect(await codeOf(engine.view(hash))).toBe("fine");
    expect(await codeOf(engine.view(middle))).toBe("pruned");
    // One that is not here yet may need anything.
    others.push("ab".repeat(32) as Hash);
    await put(engine, "/a", "3");
    await put(engine, "/a", "4");
    clock.tick(30 * DAY);
    const { commits, notes } = await engine.retention.collect(true);
    expect(commits.dropped).toBe(0);
    expect(notes[0]).toContain("sync pull");
  });

  test("ends of turns for their own time, and all where the contract asks in unknown words", async () => {
    const { storage, shelf, clock } = newHome();
    const engine = await openHome({ storage, shelf, clock }, { states: "1d", turns: "10d" });
    opened.push(engine);
    const ask = (kind: "kv.put" | "complete", value: string) =>
      engine.write({ space: "kv", kind, branch: MAIN, ops: [op("/a", value)] });
    const { state: within } = await ask("kv.put", "1");
    const { state: end } = await ask("complete", "2");
    await ask("kv.put", "3");
    clock.tick(5 * DAY);
    await engine.retention.collect(true);
    expect(await codeOf(engine.view(within))).toBe("pruned");
    expect(await stateAt(engine, end)).toEqual({ "/a": sha256("2") });
    clock.tick(6 * DAY);
    await engine.retention.collect(true);
    expect(await codeOf(engine.view(end))).toBe("pruned");
    await engine.setContract({ ...contract(), retention: { states: "1d", weeks: "3" } });
    await ask("kv.put", "4");
    clock.tick(30 * DAY);
    expect(await engine.retention.collect(true)).toMatchObject({ commits: { dropped: 0 } });
  });

  test("what was put aside, for its time; then it is gone, and no undo brings it back", async () => {
    const { engine, shelf, clock } = await open({ states: "1d" });
    const old = await put(engine, "/a", "1");
    await put(engine, "/a", "2");
    clock.tick(2 * DAY);
    expect(await engine.retention.isDue()).toBe(true);
    await engine.retention.collect(true);
    expect(await engine.retention.isDue()).toBe(false);
    clock.tick(6 * DAY);
    expect(await engine.retention.isDue()).toBe(true);
    await engine.retention.tidy();
    expect(await shelf.list()).toHaveLength(1);
    clock.tick(2 * DAY);
    await engine.retention.tidy();
    expect(await shelf.list()).toHaveLength(0);
    expect(await codeOf(engine.retention.undo())).toBe("not_found");
    expect(await codeOf(engine.view(old))).toBe("pruned");
    expect(await codeOf(engine.rewind(MAIN, old))).toBe("pruned");
    expect(await codeOf(engine.fork("x" as BranchName, old))).toBe("pruned");
  });
});

const KEYS = ["/a", "/b", "/c", "/d/e"];
const VALUES = ["1", "2", "3", "x".repeat(70_000), "y".repeat(70_000)];
const NAMES = ["main", "one", "two"] as BranchName[];

type Step =
  | { readonly do: "put"; readonly branch: number; readonly key: number; readonly value: number }
  | { readonly do: "many"; readonly branch: number; readonly count: number }
  | { readonly do: "fork"; readonly branch: number; readonly from: number }
  | { readonly do: "rewind"; readonly branch: number; readonly to: number }
  | { readonly do: "merge"; readonly from: number; readonly into: number }
  | { readonly do: "delete"; readonly branch: number }
  | { readonly do: "tick"; readonly days: number }
  | { readonly do: "gc" }
  | { readonly do: "undo" };

const small = fc.nat({ max: 9 });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("put" as const), branch: small, key: small, value: small }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("many" as const), branch: small, count: fc.nat({ max: 70 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("fork" as const), branch: small, from: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("rewind" as const), branch: small, to: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("merge" as const), from: small, into: small }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("delete" as const), branch: small }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("tick" as const), days: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("gc" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("undo" as const) }) },
);

/** Every commit's state as it was when it was made, when that was, and where branches began. */
class Model {
  readonly states = new Map<Hash, Record<string, string>>();
  readonly made = new Map<Hash, number>();
  readonly began = new Map<string, Hash>();

  async see(engine: StateEngine, now: number): Promise<void> {
    for (const { head } of engine.liveBranches()) {
      if (this.states.has(head)) continue;
      for await (const { hash } of engine.log(head)) {
        if (this.states.has(hash)) break;
        this.states.set(hash, await stateAt(engine, hash));
        this.made.set(hash, now);
      }
    }
  }
}

test("property: what retention keeps reads as before, the rest is pruned, and verify is clean", async () => {
  let pruned = 0;
  let undone = 0;
  const property = fc.asyncProperty(fc.array(anyStep, { minLength: 30, maxLength: 70, size: "max" }), async (steps) => {
    const { engine, clock } = await open({ states: "7d" });
    const model = new Model();
    const name = (n: number): BranchName => NAMES[n % NAMES.length] as BranchName;
    const commit = (n: number): Hash => [...model.states.keys()][n % model.states.size] as Hash;
    let last: Hash[] = [];
    const gone = async (): Promise<Hash[]> => {
      const all: Hash[] = [];
      for (const [hash, state] of model.states) {
        try {
          expect(await stateAt(engine, hash)).toEqual(state);
        } catch (error) {
          if ((error as { code?: string }).code !== "pruned") throw error;
          all.push(hash);
        }
      }
      return all;
    };
    await model.see(engine, clock.now().getTime());
    for (const step of steps) {
      clock.tick(1);
      const now = clock.now().getTime();
      if (step.do === "put") {
        const value = step.value > 8 ? null : (VALUES[step.value % VALUES.length] as string);
        await codeOf(put(engine, KEYS[step.key % KEYS.length] as string, value, name(step.branch)));
      } else if (step.do === "many") {
        for (let i = 0; i < step.count; i++) {
          if ((await codeOf(put(engine, `/many/${i % 20}`, `${i} ${now}`, name(step.branch)))) !== "fine") break;
          await model.see(engine, now);
        }
      } else if (step.do === "fork") {
        const from = commit(step.from);
        const before = await codeOf(engine.view(from));
        const result = await codeOf(engine.fork(name(step.branch), from));
        if (result === "fine") model.began.set(name(step.branch), from);
        else expect(["conflict", "pruned"]).toContain(result);
        if (before === "pruned") expect(result).not.toBe("fine");
      } else if (step.do === "rewind") {
        const result = await codeOf(engine.rewind(name(step.branch), commit(step.to)));
        expect(["fine", "not_found", "pruned"]).toContain(result);
      } else if (step.do === "merge") {
        const [from, into] = [await engine.resolve(name(step.from)).catch(() => null), name(step.into)];
        const result = from === null ? "not_found" : await codeOf(engine.merge(into, from));
        // A merge of what two heads hold must never need what retention dropped.
        expect(["fine", "not_found"]).toContain(result);
      } else if (step.do === "delete") {
        if ((await codeOf(engine.deleteBranch(name(step.branch)))) === "fine") model.began.delete(name(step.branch));
      } else if (step.do === "tick") {
        clock.tick(step.days * DAY);
      } else if (step.do === "gc") {
        const before = await gone();
        await engine.retention.collect(true);
        const after = await gone();
        last = after.filter((hash) => !before.includes(hash));
        pruned += last.length;
        const must = [...engine.liveBranches().map(({ head }) => head), ...model.began.values()];
        for (const [hash, made] of model.made) if (made > now - 7 * DAY) must.push(hash);
        for (const hash of must) if (!before.includes(hash)) expect(after).not.toContain(hash);
        expect((await engine.verify()).damage).toEqual([]);
        expect(await engine.retention.collect(false)).toMatchObject({ commits: { dropped: 0 }, objects: 0 });
      } else if ((await codeOf(engine.retention.undo())) === "fine") {
        undone++;
        const after = await gone();
        for (const hash of last) expect(after).not.toContain(hash);
        last = [];
        expect((await engine.verify()).damage).toEqual([]);
      }
      await model.see(engine, now);
    }
    await engine.close();
  });
  await holds("retention", property, 45);
  expect(pruned).toBeGreaterThan(100);
  expect(undone).toBeGreaterThan(0);
}, 120_000);
