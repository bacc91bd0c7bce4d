import { type BranchName, type Hash, MAIN } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { contents, put } from "../state/harness.ts";
import { type Box, EngineFleet, lacking, meet, same, verified } from "./engine-fleet.ts";

// What one machine did to its branches while another was away and writing: the rules of what a pull does, from end to end.

const FIX = "fix" as BranchName;

async function pair(encrypt = false): Promise<{ fleet: EngineFleet; a: Box; b: Box }> {
  const { fleet, boxes } = await EngineFleet.start(2, { encrypt });
  const [a, b] = boxes as [Box, Box];
  return { fleet, a, b };
}

async function forget(box: Box, key: string): Promise<void> {
  await box.todo.retention.forget({ key: key as never, isPrefix: false }, true);
}

describe("a rewind here, while another machine wrote", () => {
  /** What a key and those beside it hold, at the end, where the other wrote before or after the rewind. */
  async function met(isLater: boolean): Promise<Record<string, string>> {
    const { fleet, a, b } = await pair();
    const early = await put(a.todo, { "/plan": "good", "/kept": "1" });
    fleet.clock.tick(1000);
    await put(a.todo, { "/plan": "bad", "/added": "1" });
    await meet(a, b);
    const there = async (): Promise<void> => void (await put(b.todo, { "/plan": "from b", "/b": "1" }));
    fleet.clock.tick(1000);
    if (!isLater) await there();
    fleet.clock.tick(1000);
    await a.todo.rewind(MAIN, early as Hash);
    fleet.clock.tick(1000);
    if (isLater) await there();
    await meet(b, a);
    await same(a, b, await fleet.clone());
    return await contents(a.todo);
  }

  test("counts for every key that it changed: what was written before it goes beside, what was not touched stays", async () => {
    const end = await met(false);
    expect(end).toMatchObject({ "/plan": "good", "/kept": "1", "/b": "1" });
    expect(end).not.toHaveProperty("/added");
    expect(Object.values(end)).toContain("from b");
  });

  test("gives way to what was written after it, and goes beside that", async () => {
    const end = await met(true);
    expect(end).toMatchObject({ "/plan": "from b", "/kept": "1", "/b": "1" });
    expect(Object.values(end)).toContain("good");
  });
});

describe("a promote here, while another machine wrote on the old main", () => {
  test("stays, with what was written on top; the old main is sealed everywhere, and can be written nowhere", async () => {
    const { fleet, a, b } = await pair();
    const fork = (await put(a.todo, { "/base": "1" })) as Hash;
    await put(a.todo, { "/wrong": "1" });
    await meet(a, b);
    await a.todo.fork(FIX, fork);
    await put(a.todo, { "/right": "1" }, FIX);
    const { sealed, branchId } = await a.todo.promote(FIX, MAIN);
    fleet.clock.tick(1000);
    const written = await put(b.todo, { "/b": "1" });
    await b.todo.fork("from-old-main" as BranchName, (await b.todo.resolve(MAIN)) as Hash);
    await meet(b, a);
    const clone = await fleet.clone();
    await same(a, b, clone);
    for (const box of [a, b, clone]) {
      expect(await contents(box.todo)).toEqual({ "/base": "1", "/right": "1", "/b": "1" });
      expect(await contents(box.todo, sealed)).toEqual({ "/base": "1", "/wrong": "1" });
      expect(await contents(box.todo, "from-old-main")).toEqual({ "/base": "1", "/wrong": "1", "/b": "1" });
      expect(box.todo.branch(sealed)).toMatchObject({ id: branchId, sealed: true });
      await expect(put(box.todo, { "/x": "1" }, sealed)).rejects.toMatchObject({ code: "sealed" });
      expect(await lacking(box, [written])).toEqual([]);
    }
  });

  test("and another promote there: one main, both old ones kept", async () => {
    const { fleet, a, b } = await pair();
    await put(a.todo, { "/base": "1" });
    await meet(a, b);
    for (const [box, name] of [
      [a, "of-a"],
      [b, "of-b"],
    ] as const) {
      fleet.clock.tick(1000);
      await box.todo.fork(name as BranchName, (await box.todo.resolve(MAIN)) as Hash);
      await put(box.todo, { [`/${name}`]: "1" }, name as BranchName);
      await put(box.todo, { [`/old-main-${name}`]: "1" });
      await box.todo.promote(name as BranchName, MAIN);
    }
    await meet(b, a);
    await same(a, b, await fleet.clone());
    expect(await contents(a.todo)).toEqual({ "/base": "1", "/of-a": "1", "/of-b": "1" });
    const sealed = a.todo.liveBranches().filter((branch) => branch.sealed);
    const kept = await Promise.all(sealed.map(({ name }) => contents(a.todo, name)));
    expect(kept.flatMap((one) => Object.keys(one)).toSorted()).toEqual(
      ["/base", "/base", "/old-main-of-a", "/old-main-of-b"].toSorted(),
    );
  });
});

describe("a branch that was deleted here", () => {
  test("is deleted there, where nothing was written on it; a fork of it stays, and no third machine brings it back", async () => {
    const { fleet, a, b } = await pair();
    const c = await fleet.clone();
    await a.todo.fork(FIX, (await a.todo.resolve(MAIN)) as Hash);
    await put(a.todo, { "/fix": "1" }, FIX);
    await meet(a, b, c);
    const fork = await b.todo.fork("beside" as BranchName, (await b.todo.resolve(FIX)) as Hash);
    await put(a.todo, { "/fix": "2" }, FIX);
    await a.todo.deleteBranch(FIX);
    await meet(a, b);
    // It was away all the time, and still says that it has the branch.
    await meet(c, a, b);
    await same(a, b, c);
    for (const box of [a, b, c]) {
      expect(
        box.todo
          .liveBranches()
          .map(({ name }) => name)
          .toSorted(),
      ).toEqual(["beside", "main"]);
      expect(box.todo.branch("beside" as BranchName).id).toBe(fork.branch);
      expect(await contents(box.todo, "beside")).toEqual({ "/fix": "1" });
    }
  });

  test("stays where another machine went on with it, comes back here, and that is told", async () => {
    const { fleet, a, b } = await pair();
    await a.todo.fork(FIX, (await a.todo.resolve(MAIN)) as Hash);
    await put(a.todo, { "/fix": "1" }, FIX);
    await meet(a, b);
    await a.todo.deleteBranch(FIX);
    await put(b.todo, { "/went-on": "1" }, FIX);
    await a.syncAll();
    const { notes } = await b.pull();
    expect(notes.join()).toMatch(/was deleted elsewhere, and went on: it stays/);
    await meet(b, a);
    await same(a, b, await fleet.clone());
    expect(await contents(a.todo, FIX)).toEqual({ "/fix": "1", "/went-on": "1" });
    // Deleted once more, it is gone for good.
    await b.todo.deleteBranch(FIX);
    await meet(b, a);
    await same(a, b);
    expect(a.todo.liveBranches().map(({ name }) => name)).toEqual(["main"]);
  });

  test("and made anew under its name is another branch", async () => {
    const { fleet, a, b } = await pair();
    await a.todo.fork(FIX, (await a.todo.resolve(MAIN)) as Hash);
    await meet(a, b);
    await put(b.todo, { "/old": "1" }, FIX);
    await a.todo.deleteBranch(FIX);
    await a.todo.fork(FIX, (await a.todo.resolve(MAIN)) as Hash);
    await put(a.todo, { "/new": "1" }, FIX);
    await meet(a, b);
    await same(a, b, await fleet.clone());
    const all = await Promise.all(a.todo.liveBranches().map(({ name }) => contents(a.todo, name)));
    expect(all.flatMap((one) => Object.keys(one)).toSorted()).toEqual(["/new", "/old"]);
  });
});

describe("a forget here, while another machine wrote", () => {
  for (const encrypt of [false, true]) {
    test(`the same bytes under another key, ${encrypt ? "encrypted" : "plain"}: it keeps them, and says so; elsewhere they come again`, async () => {
      const { fleet, a, b } = await pair(encrypt);
      await put(a.todo, { "/secret": "the secret of both", "/other": "a secret of one" });
      await meet(a, b);
      await put(b.todo, { "/mine": "the secret of both" });
      await put(b.todo, { "/later": "1" });
      for (const key of ["/secret", "/other"]) await forget(a, key);
      await meet(b, a);
      await verified(b);
      expect(b.log.join("\n")).toMatch(/was erased elsewhere and stays here: the key \/mine needs it/);
      const clone = await fleet.clone();
      await same(a, b, clone);
      for (const { todo } of [a, b, clone]) {
        const mine = await (await todo.stateOf()).get("kv", "/mine" as never);
        expect(String(await todo.requiredValue((mine as never as { hash: Hash }).hash, 18))).toBe("the secret of both");
        const other = await (await todo.stateOf()).get("kv", "/other" as never);
        await expect(todo.requiredValue((other as never as { hash: Hash }).hash, 15)).rejects.toMatchObject({
          code: "erased",
        });
      }
    });
  }

  test("a rewind to a state that has it: the key reads as erased, and all stay the same", async () => {
    const { fleet, a, b } = await pair();
    const early = (await put(a.todo, { "/secret": "a secret", "/k": "1" })) as Hash;
    await put(a.todo, { "/secret": null, "/k": "2" });
    await meet(a, b);
    await forget(a, "/secret");
    await b.todo.rewind(MAIN, early);
    await meet(b, a);
    const clone = await fleet.clone();
    await same(a, b, clone);
    for (const { todo } of [a, b, clone]) {
      const entry = await (await todo.stateOf()).get("kv", "/secret" as never);
      expect(entry).not.toBeNull();
      await expect(todo.requiredValue((entry as { hash: Hash }).hash, 8)).rejects.toMatchObject({ code: "erased" });
    }
  });
});

function counting(box: Box): () => number {
  let calls = 0;
  const counted = (bucket: Bucket): Bucket => {
    const count = <T>(work: () => T): T => {
      calls++;
      return work();
    };
    return {
      uri: bucket.uri,
      get: (path, range) => count(() => bucket.get(path, range)),
      put: (files) => count(() => bucket.put(files)),
      putFile: (...file) => count(() => bucket.putFile(...file)),
      sizes: (paths) => count(() => bucket.sizes(paths)),
      list: (prefix) => count(() => bucket.list(prefix)),
      delete: (paths) => count(() => bucket.delete(paths)),
      revision: () => count(() => bucket.revision()),
      close: () => bucket.close(),
    };
  };
  box.wrap = counted;
  return () => calls;
}

test(
  "a machine that was away for 10,000 writes catches up in one pull and one push",
  { timeout: 120_000 },
  async () => {
    const { fleet, a, b } = await pair();
    for (let i = 0; i < 10_000; i += 500) {
      await Promise.all(
        Array.from({ length: 500 }, (_, n) => put(b.todo, { [`/k/${(i + n) % 3000}`]: `value ${i + n}` })),
      );
      fleet.clock.tick(1000);
      await put(a.todo, { [`/of-a/${i}`]: "1" });
      await a.push();
    }
    const calls = counting(b);
    expect(await b.pull()).toMatchObject({ error: null, branches: [{ name: "main", result: "merged" }] });
    // vault.json, a listing, the head, and the packs that came meanwhile.
    const pulled = calls();
    expect(pulled).toBeLessThanOrEqual(3 + 20);
    expect(await b.push()).toMatchObject({ error: null, commits: 10_001 });
    // vault.json, a listing, the packs and their sizes, the head and its size, the old head.
    expect(calls() - pulled).toBeLessThanOrEqual(8);
    expect(await b.sync.owed(a.todo.agent)).toBeNull();
    expect(await a.pull()).toMatchObject({ error: null, commits: 10_001 });
    expect(await a.todo.resolve(MAIN)).toBe(await b.todo.resolve(MAIN));
  },
);

const INSTANTS = IS_LONG ? 200 : 50;

test(`two machines that push at the same instant, ${INSTANTS} times, lose nothing`, { timeout: 300_000 }, async () => {
  const { fleet, boxes } = await EngineFleet.start(2, { over: 8 });
  const [a, b] = boxes as [Box, Box];
  const written: string[] = [];
  for (let i = 0; i < INSTANTS; i++) {
    written.push(
      ...(await Promise.all(boxes.map((box, n) => put(box.todo, { [`/of-${n}/${i}`]: `${i}`, "/same": `${n} ${i}` })))),
    );
    fleet.clock.tick(60_000);
    for (const { error } of await Promise.all([a.push(), b.push()])) expect(error).toBeNull();
    if (i % 10 === 9) for (const { error } of await Promise.all([a.pull(), b.pull()])) expect(error).toBeNull();
  }
  await meet(a, b);
  const clone = await fleet.clone();
  await same(a, b, clone);
  for (const box of [a, b, clone]) expect(await lacking(box, written)).toEqual([]);
  expect(Object.keys(await contents(clone.todo)).filter((key) => key.startsWith("/of-"))).toHaveLength(2 * INSTANTS);
});
