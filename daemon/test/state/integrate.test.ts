import { type BranchName, encodeContract, type Hash, MAIN, sha256 } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import type { TheirBranch } from "../../src/state/api.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { AGENT, contents, contract, openEngine, type Opened, put } from "./harness.ts";
import { emptyMachine, machine, meet, objectsFor, send, take } from "./machines.ts";

const F = "f" as BranchName;

/** Two machines that have the same history: main, and a fork "f" with a commit of its own. */
async function pair(): Promise<{ a: Opened; b: Opened; fork: Hash; at: Hash }> {
  const a = await machine(1);
  const b = await machine(2);
  const base = (await put(a.engine, { "/a": "1" })) as Hash;
  const { branch: fork } = await a.engine.fork(F, base);
  const at = (await put(a.engine, { "/f": "1" }, F)) as Hash;
  await send(a.engine, b.engine);
  return { a, b, fork, at };
}

const branchOf = (engine: StateEngine, id: Hash) => engine.branches().find((branch) => branch.id === id);

/** What a machine says of one branch, whatever else it says. */
const saysOf = (engine: StateEngine, id: Hash): TheirBranch => branchOf(engine, id) as TheirBranch;

describe("heads", () => {
  test("the same again is unchanged, an older one too", async () => {
    const { a, b } = await pair();
    const main = a.engine.branch(MAIN);
    const older = (await a.engine.commit(main.head)).parents[0] as Hash;
    for (const head of [main.head, older]) {
      expect(await b.engine.integrate([{ ...main, head }])).toEqual([
        { name: "main", result: "unchanged", head: main.head, conflicts: 0, notes: [] },
      ]);
    }
  });

  test("a newer one is a fast-forward, one that went apart is merged", async () => {
    const { a, b } = await pair();
    const next = await put(a.engine, { "/a": "2" });
    expect((await send(a.engine, b.engine))[0]).toMatchObject({ name: "main", result: "fast-forward", head: next });
    await put(a.engine, { "/a": "3" });
    await put(b.engine, { "/b": "3" });
    const [main] = await send(a.engine, b.engine);
    expect(main).toMatchObject({ result: "merged", conflicts: 0 });
    expect(await contents(b.engine)).toEqual({ "/a": "3", "/b": "3" });
    expect((await send(b.engine, a.engine))[0]).toMatchObject({ result: "fast-forward", head: main?.head });
  });

  test("a branch that we lack is taken over, also on an empty machine", async () => {
    const { a, fork } = await pair();
    const c = await emptyMachine(3);
    const results = await send(a.engine, c.engine);
    expect(results.map(({ name, result }) => `${name} ${result}`).sort()).toEqual(["f new", "main new"]);
    expect(branchOf(c.engine, fork)).toEqual(branchOf(a.engine, fork));
    expect(await contents(c.engine, "f")).toEqual({ "/a": "1", "/f": "1" });
  });

  test("several heads of one branch are folded alike, whatever the order and the own one", async () => {
    const { a, b } = await pair();
    const c = await emptyMachine(3);
    await send(a.engine, c.engine);
    const machines = [a, b, c];
    for (const [i, { engine, clock }] of machines.entries()) {
      clock.tick(1000 * (3 - i));
      await put(engine, { "/same": `by ${i}`, [`/own/${i}`]: "x" });
    }
    const said = machines.map(({ engine }) => saysOf(engine, engine.branch(MAIN).id));
    for (const from of machines) {
      for (const to of machines)
        await to.engine.receive(
          await objectsFor(from.engine, [(said[machines.indexOf(from)] as TheirBranch).head as Hash]),
        );
    }
    await a.engine.integrate(said);
    await b.engine.integrate(said.toReversed());
    await c.engine.integrate([said[1], said[0]] as TheirBranch[]);
    const heads = machines.map(({ engine }) => engine.branch(MAIN).head);
    expect(new Set(heads).size).toBe(1);
    expect(Object.keys(await contents(a.engine)).filter((key) => key.startsWith("/same"))).toHaveLength(3);
  });
});

describe("names", () => {
  test("another branch of the same name is shown with the start of its id, and keeps that name", async () => {
    const { a, b } = await pair();
    const name = "idea" as BranchName;
    const mine = await b.engine.fork(name, b.engine.branch(MAIN).head);
    const theirs = await a.engine.fork(name, a.engine.branch(MAIN).head);
    const shown = `idea-${theirs.branch.slice(0, 8)}` as BranchName;
    const result = (await send(a.engine, b.engine)).find((one) => one.name.startsWith("idea"));
    expect(result).toMatchObject({ name: shown, result: "new" });
    expect(result?.notes.join()).toMatch(/name "idea"/);
    expect(b.engine.branch(name).id).toBe(mine.branch);
    const next = await put(a.engine, { "/i": "2" }, name);
    await send(a.engine, b.engine);
    expect(b.engine.branch(shown).head).toBe(next);
    await put(b.engine, { "/i": "3" }, shown);
    await send(b.engine, a.engine);
    expect(await contents(a.engine, name)).toMatchObject({ "/i": "3" });
  });
});

describe("tombstones", () => {
  test("cover the commit and its ancestors, and block their return", async () => {
    const { a, b, fork } = await pair();
    const before = saysOf(b.engine, fork);
    const grave = await put(a.engine, { "/f": "2" }, F);
    await a.engine.deleteBranch(F);
    expect(saysOf(a.engine, fork)).toMatchObject({ head: null, deleted: [grave] });
    const results = await send(a.engine, b.engine);
    expect(results.find(({ name }) => name === "f")).toMatchObject({ result: "deleted" });
    // The tombstone covers here what it covers there, whoever is heard of next.
    expect(branchOf(b.engine, fork)).toMatchObject({ head: null });
    expect(branchOf(b.engine, fork)?.deleted).toContain(grave);
    // Neither side brings it back, nor does a third that has not heard.
    expect((await a.engine.integrate([before]))[0]).toMatchObject({ result: "unchanged" });
    expect((await b.engine.integrate([before]))[0]).toMatchObject({ result: "unchanged" });
    expect(
      a.engine
        .liveBranches()
        .concat(b.engine.liveBranches())
        .map(({ name }) => name),
    ).toEqual(["main", "main"]);
  });

  test("a machine that never had the branch does not take it from one and the tombstone from another", async () => {
    const { a, b, fork } = await pair();
    const before = saysOf(b.engine, fork);
    await a.engine.deleteBranch(F);
    const c = await emptyMachine(3);
    await take(c.engine, {
      objects: await objectsFor(a.engine, [a.engine.branch(MAIN).head, before.head as Hash]),
      branches: [],
    });
    await c.engine.integrate([...a.engine.branches(), before]);
    await c.engine.integrate([before]);
    expect(c.engine.liveBranches().map(({ name }) => name)).toEqual(["main"]);
  });

  test("a branch that went on elsewhere stays, comes back to who deleted it, and is said", async () => {
    const { a, b, fork, at } = await pair();
    const on = (await put(b.engine, { "/f": "on" }, F)) as Hash;
    await a.engine.deleteBranch(F);
    const stays = (await send(a.engine, b.engine)).find(({ name }) => name === "f");
    expect(stays).toMatchObject({ head: on });
    expect(stays?.notes.join()).toMatch(/went on: it stays/);
    expect((await send(b.engine, a.engine)).find(({ name }) => name === "f")).toMatchObject({
      result: "new",
      head: on,
    });
    // What was deleted stays known, in memory and in the storage.
    const expected = { id: fork, name: "f", head: on, sealed: false, deleted: [at] };
    expect(branchOf(a.engine, fork)).toEqual(expected);
    expect((await a.storage.branches()).find(({ id }) => id === fork)).toEqual(expected);
  });

  test("a deletion lasts when the branch goes on elsewhere: what it covered does not come back", async () => {
    const { a, b, fork } = await pair();
    const buried = (await put(a.engine, { "/f": "buried" }, F)) as Hash;
    const third = saysOf(a.engine, fork);
    await a.engine.deleteBranch(F);
    const on = (await put(b.engine, { "/g": "on" }, F)) as Hash;
    await meet(a.engine, b.engine);
    for (const { engine } of [a, b]) {
      expect(branchOf(engine, fork)).toMatchObject({ head: on, deleted: [buried] });
      // A machine that has not heard of the deletion still says the buried commit.
      const [said] = await engine.integrate([third]);
      expect(said).toMatchObject({ result: "unchanged", head: on });
      expect(await contents(engine, "f")).not.toMatchObject({ "/f": "buried" });
    }
  });

  test("both deleted it at different commits", async () => {
    const { a, b, fork } = await pair();
    await put(b.engine, { "/f": "on" }, F);
    await a.engine.deleteBranch(F);
    await b.engine.deleteBranch(F);
    await meet(a.engine, b.engine);
    for (const { engine } of [a, b]) expect(branchOf(engine, fork)).toMatchObject({ head: null });
  });

  test("main is the branch of the first commit, whatever a head calls it or another one", async () => {
    const { a, b, fork } = await pair();
    const c = await emptyMachine(3);
    const heads = [a.engine.branch(MAIN).head, a.engine.branch(F).head];
    await take(c.engine, { objects: await objectsFor(b.engine, heads), branches: [] });
    const [main, other] = [saysOf(a.engine, a.engine.branch(MAIN).id), saysOf(a.engine, fork)];
    await c.engine.integrate([
      { ...other, name: "main" },
      { ...main, name: "other" },
    ]);
    expect(c.engine.branch(MAIN)).toMatchObject({ id: main.id, head: main.head });
    expect(branchOf(c.engine, fork)?.name).toMatch(/^main-/);
  });

  test("main survives what another machine says", async () => {
    const { a, b } = await pair();
    const main = a.engine.branch(MAIN);
    const [said] = await b.engine.integrate([{ ...main, head: null, deleted: [main.head as Hash] }]);
    expect(said?.notes.join()).toMatch(/main/);
    expect(b.engine.branch(MAIN).head).toBe(main.head);
  });
});

describe("seals", () => {
  test("hold everywhere once seen, and refuse writes", async () => {
    const { a, b, fork } = await pair();
    const sealed = { ...saysOf(a.engine, fork), sealed: true };
    await b.engine.integrate([sealed]);
    await b.engine.integrate([{ ...sealed, sealed: false }]);
    expect(branchOf(b.engine, fork)).toMatchObject({ sealed: true });
    const refused = { code: "sealed", details: { branch: "f" } };
    await expect(put(b.engine, { "/f": "2" }, F)).rejects.toMatchObject(refused);
    await expect(b.engine.rewind(F, b.engine.branch(MAIN).head)).rejects.toMatchObject(refused);
    await expect(b.engine.merge(F, b.engine.branch(MAIN).head)).rejects.toMatchObject(refused);
    const again = await openEngine({ storage: b.storage, device: 2 });
    await expect(put(again.engine, { "/f": "2" }, F)).rejects.toMatchObject(refused);
    await b.engine.fork("onwards" as BranchName, b.engine.branch(F).head);
    await put(b.engine, { "/f": "2" }, "onwards" as BranchName);
  });

  test("a new branch arrives sealed, and a merge keeps the seal", async () => {
    const { a, b, fork } = await pair();
    const c = await emptyMachine(3);
    await take(c.engine, {
      objects: await objectsFor(a.engine, [a.engine.branch(F).head]),
      branches: [{ ...saysOf(a.engine, fork), sealed: true }],
    });
    expect(branchOf(c.engine, fork)).toMatchObject({ sealed: true });
    await put(a.engine, { "/f": "a" }, F);
    await put(b.engine, { "/g": "b" }, F);
    const { objects, branches } = {
      objects: await objectsFor(a.engine, [a.engine.branch(F).head]),
      branches: [{ ...saysOf(a.engine, fork), sealed: true }],
    };
    expect((await take(b.engine, { objects, branches }))[0]).toMatchObject({ result: "merged" });
    expect(branchOf(b.engine, fork)).toMatchObject({ sealed: true });
    expect(await contents(b.engine, "f")).toMatchObject({ "/f": "a", "/g": "b" });
    // Another that has not heard of the seal goes on: its work is taken, and the seal stays.
    await put(a.engine, { "/h": "a" }, F);
    expect((await send(a.engine, b.engine)).find(({ name }) => name === "f")).toMatchObject({ result: "merged" });
    expect(branchOf(b.engine, fork)).toMatchObject({ sealed: true });
  });
});

describe("what this release does not know", () => {
  for (const [what, merge] of [
    ["merge rules", { rules: 2, policies: {} }],
    ["a merge policy", { rules: 1, policies: { "/notes/": "by-weekday" } }],
  ] as const) {
    test(`${what} in a pulled contract: both heads stay, and it is said`, async () => {
      const { a, b } = await pair();
      const mine = await put(b.engine, { "/b": "mine" });
      await a.engine.setContract({ v: 1, name: AGENT, merge });
      const [said] = await send(a.engine, b.engine);
      expect(said).toMatchObject({ name: "main", result: "kept", head: mine });
      expect(said?.notes.join()).toMatch(/does not know/);
      expect(b.engine.branch(MAIN).head).toBe(mine);
      const theirs = a.engine.branch(MAIN).head;
      expect(await b.engine.has([theirs])).toEqual([true]);
      expect((await (await b.engine.view(theirs)).contract())?.merge).toEqual(merge);
      await expect(b.engine.merge(MAIN, theirs)).rejects.toMatchObject({ code: "unavailable", retryable: false });
      await put(b.engine, { "/b": "goes on" });
    });
  }

  test("is kept out of an empty machine and out of a fast-forward", async () => {
    const { a, b } = await pair();
    const before = b.engine.branch(MAIN).head;
    await a.engine.setContract({ v: 1, name: AGENT, merge: { rules: 2, policies: {} } });
    expect((await send(a.engine, b.engine))[0]).toMatchObject({ result: "kept", head: before });
    const c = await emptyMachine(3);
    await send(a.engine, c.engine);
    expect(c.engine.liveBranches().map(({ name }) => name)).toEqual(["f"]);
  });
});

describe("clocks", () => {
  test("a commit from more than a day ahead is reported, one from less is not", async () => {
    const { a, b } = await pair();
    a.clock.tick(23 * 60 * 60 * 1000);
    await put(a.engine, { "/a": "soon" });
    expect((await send(a.engine, b.engine))[0]?.notes).toEqual([]);
    a.clock.tick(2 * 60 * 60 * 1000);
    await put(a.engine, { "/a": "far" });
    await put(b.engine, { "/b": "now" });
    const [said] = await send(a.engine, b.engine);
    expect(said?.notes.join()).toMatch(/more than a day ahead/);
    expect(said?.result).toBe("merged");
  });
});

describe("contracts", () => {
  test("machines that registered apart with the same contract share their first commits", async () => {
    const [a, b] = [await machine(1), await machine(2)];
    expect(a.engine.branch(MAIN)).toEqual(b.engine.branch(MAIN));
    await put(a.engine, { "/a": "1" });
    await put(b.engine, { "/b": "1" });
    await meet(a.engine, b.engine);
    expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
    expect(await contents(a.engine)).toEqual({ "/a": "1", "/b": "1" });
  });

  test("with different contracts they share the first commit, and merge", async () => {
    const a = await machine(1, contract({ "/x/": "newest" }));
    const b = await machine(2);
    expect(a.engine.branch(MAIN).id).toBe(b.engine.branch(MAIN).id);
    await put(a.engine, { "/a": "1" });
    await put(b.engine, { "/b": "1" });
    await meet(a.engine, b.engine);
    expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
    expect(await contents(a.engine)).toEqual({ "/a": "1", "/b": "1" });
    expect(await a.engine.contract()).toEqual(await b.engine.contract());
  });

  test("changed on one side it is that one; changed on both, the later", async () => {
    const { a, b } = await pair();
    b.clock.tick(10);
    await b.engine.setContract(contract({ "/b/": "newest" }));
    a.clock.tick(5);
    await put(a.engine, { "/a": "2" });
    await meet(a.engine, b.engine);
    expect(await a.engine.contract()).toEqual(contract({ "/b/": "newest" }));
    a.clock.tick(1000);
    await a.engine.setContract(contract({ "/later/": "newest" }));
    b.clock.tick(500);
    await b.engine.setContract(contract({ "/earlier/": "newest" }));
    // What is written after it does not make it later.
    b.clock.tick(5000);
    await put(b.engine, { "/b": "2" });
    await meet(a.engine, b.engine);
    for (const { engine } of [a, b]) expect(await engine.contract()).toEqual(contract({ "/later/": "newest" }));
    expect(a.engine.branch(MAIN).head).toBe(b.engine.branch(MAIN).head);
  });

  test("one that is too large to be a plain value is refused, and the state stays readable", async () => {
    const { a } = await pair();
    const policies = Object.fromEntries(
      Array.from({ length: 3000 }, (_, i) => [`/a long prefix of many ${i}/`, "newest" as const]),
    );
    const large = contract(policies);
    expect(encodeContract(large).length).toBeGreaterThan(64 * 1024);
    const before = await a.engine.contract();
    await expect(a.engine.setContract(large)).rejects.toMatchObject({ code: "too_large" });
    expect(await a.engine.contract()).toEqual(before);
    expect(sha256(encodeContract(before ?? large))).toBe((await a.engine.stateOf()).snapshot.contract);
  });
});
