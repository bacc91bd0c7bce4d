import { type Hash } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { stretchesToMerge } from "../../src/sync/packs/merge-policy.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { Machine } from "./machine.ts";
import { dice, noise } from "./noise.ts";
import { wrapped } from "./wrapped-bucket.ts";
import { DAY, eager, Fleet, OUTCOMES, pushes, withFault } from "./fleet.ts";

/** Bytes and files of packs that a pull asks for. */
function counting(machine: Machine): { bytes: number; packs: number; all: number } {
  const count = { bytes: 0, packs: 0, all: 0 };
  machine.wrap = (bucket) =>
    wrapped(bucket, {
      get: async (path, range) => {
        const bytes = await bucket.get(path, range);
        count.all += bytes?.length ?? 0;
        if (path.endsWith(".pack")) {
          count.packs++;
          count.bytes += bytes?.length ?? 0;
        }
        return bytes;
      },
    });
  return count;
}
describe("which packs are merged", () => {
  const sized = (...sizes: number[]): { size: number; raw: number }[] => sizes.map((size) => ({ size, raw: size }));

  test("none while there are few, and never full ones", () => {
    expect(stretchesToMerge(sized(1, 1, 1), 3)).toEqual([]);
    expect(stretchesToMerge(sized(1, 1, 1, 1), 3)).toEqual([{ start: 0, end: 4 }]);
    const full = 16 << 20;
    expect(stretchesToMerge(sized(1, 1, full, 1, 1, full, 1), 3)).toEqual([
      { start: 0, end: 2 },
      { start: 3, end: 5 },
    ]);
    // What is much larger than all behind it stays.
    expect(stretchesToMerge(sized(1000, 100, 20, 3, 3), 3)).toEqual([{ start: 3, end: 5 }]);
    expect(stretchesToMerge(sized(1000, 100, 10, 1), 3)).toEqual([]);
  });

  test("over 20,000 pushes of any size there are tens of packs that are not full, and each byte is rewritten a few times", () => {
    const roll = dice(7);
    let packs: { size: number; raw: number }[] = [];
    let [pushed, rewritten, most] = [0, 0, 0];
    for (let i = 0; i < 20_000; i++) {
      const size = 500 + (roll(50) === 0 ? roll(400_000) : roll(5000));
      pushed += size;
      packs.push({ size, raw: size });
      for (const { start, end } of stretchesToMerge(packs).toReversed()) {
        let sum = packs.slice(start, end).reduce((all, one) => all + one.size, 0);
        rewritten += sum;
        const made: typeof packs = [];
        for (; sum > 16 << 20; sum -= 16 << 20) made.push({ size: 16 << 20, raw: 16 << 20 });
        made.push({ size: sum, raw: sum });
        packs = [...packs.slice(0, start), ...made, ...packs.slice(end)];
      }
      most = Math.max(most, packs.filter(({ size }) => size < 8 << 20).length);
    }
    expect(most).toBeLessThan(50);
    expect(packs.length).toBeLessThan(pushed / (8 << 20) + 50);
    expect(rewritten / pushed).toBeLessThan(8);
  });
});

describe("merging", () => {
  test("a new machine takes few files, and has all", async () => {
    const fleet = await Fleet.start();
    const a = await fleet.machine();
    await a.add();
    await pushes(a, 30);
    const { packs, marks, heads } = await fleet.listing();
    expect(marks.size).toBeGreaterThan(20);
    expect([...packs.keys()].filter((name) => !marks.has(name)).length).toBeLessThanOrEqual(5);
    expect(heads.length).toBe(1);
    const c = await fleet.machine();
    const taken = counting(c);
    await c.syncAll();
    expect(taken.packs).toBeLessThanOrEqual(5);
    expect(c.todo.head()).toBe(a.todo.head());
    expect(c.todo.contents()).toEqual(a.todo.contents());
    // What is marked is not counted as gone.
    expect(c.log.join()).not.toContain("not vlinder's");
  });

  test("a machine that had what was merged takes what is new, and not the merged packs", async () => {
    const fleet = await Fleet.start();
    const a = await fleet.machine();
    await a.add();
    a.todo.put("/large", noise(1, 3_000_000));
    for (let i = 0; i < 3; i++) a.todo.put(`/more/${i}`, noise(2 + i, 200_000));
    await a.syncAll();
    const b = await fleet.clone();
    const taken = counting(b);
    let merges = 0;
    for (let i = 0; i < 14; i++) {
      const before = (await fleet.listing()).marks.size;
      a.todo.put(`/small/${i}`, "1 KB".repeat(256));
      a.todo.put(`/noise/${i}`, noise(100 + i, 1000));
      await a.syncAll();
      if ((await fleet.listing()).marks.size > before) merges++;
      const from = taken.all;
      await b.sync.pull();
      expect(taken.all - from, `push ${i}`).toBeLessThan(16_000);
      expect(b.todo.head()).toBe(a.todo.head());
    }
    expect(merges).toBeGreaterThan(1);
    // It sends nothing again, and names what is there now.
    b.todo.put("/of-b", "1");
    const { bytes } = await b.push();
    expect(bytes).toBeLessThan(8000);
    expect((await fleet.clone()).todo.contents()).toEqual(b.todo.contents());
  });

  test("two at the same time are harmless, and nothing is sent twice afterwards", async () => {
    const fleet = await Fleet.start(1000);
    const a = await fleet.machine(1000);
    await a.add();
    const b = await fleet.machine(1000);
    for (let i = 0; i < 8; i++) await pushes(i % 2 === 0 ? a : (await b.sync.pull(), b), 1, `${i}`);
    await a.syncAll();
    await b.syncAll();
    for (const machine of [a, b]) await eager(machine);
    a.todo.put("/a", "1");
    b.todo.put("/b", "1");
    await Promise.all([a.sync.push(), b.sync.push()]);
    for (const machine of [a, b, a, b]) await machine.syncAll();
    expect(a.todo.head()).toBe(b.todo.head());
    const c = await fleet.clone();
    expect(c.todo.contents()).toEqual(a.todo.contents());
    const idle = counting(a);
    expect((await a.push()).bytes).toBe(0);
    expect(idle.packs).toBe(0);
  });

  test("a forged mark, one of an unknown device and one of a newer release change nothing, and are said", async () => {
    const fleet = await Fleet.start();
    const a = await fleet.machine();
    await a.add();
    await pushes(a, 2);
    const bucket = await openBucket(fleet.uri);
    const { packs } = await fleet.listing();
    const [one, two] = [...packs.keys()] as [Hash, Hash];
    await bucket.put([{ path: `agents/todo/packs/${one}.dropped`, bytes: Buffer.from("{}") }]);
    await bucket.put([
      {
        path: `agents/todo/packs/${two}.dropped`,
        bytes: Buffer.from('{"body":{},"encryption":"none","signature":"","v":2}'),
      },
    ]);
    fleet.clock.tick(30 * DAY);
    const before = a.todo.head();
    await pushes(a, 6);
    const [status] = (await a.sync.status()).agents;
    expect(status?.error).toBeNull();
    const notes = status?.notes.join("\n");
    expect(notes).toContain(`${one}.dropped`);
    expect(notes).toContain("a mark has format 2 (a newer vlinder may have written it: update this one)");
    expect(notes).toContain("packs are neither merged nor deleted");
    const after = await fleet.listing();
    expect(after.marks.size).toBe(2);
    for (const pack of packs.keys()) expect(after.packs.has(pack)).toBe(true);
    expect(a.todo.head()).not.toBe(before);
    expect((await fleet.clone()).todo.contents()).toEqual(a.todo.contents());
  });
});

describe("a push that merges and dies at any step", () => {
  for (const outcome of OUTCOMES) {
    test(`${outcome}: leaves a bucket that every other machine can use`, async () => {
      let steps = 0;
      for (let n = 1; ; n++) {
        const fleet = await Fleet.start(1000);
        const a = await fleet.machine();
        await a.add();
        await pushes(a, 4);
        const b = await fleet.clone();
        a.todo.put("/last", "of a");
        await eager(a);
        const fired = await withFault(a, n, outcome, () => a.sync.push());
        if (!fired) break;
        steps = n;
        // One that was away and has something to say, and a new one, before the first is back.
        b.todo.put("/of-b", "1");
        await b.syncAll();
        expect((await fleet.clone()).todo.contents(), `step ${n}`).toEqual(b.todo.contents());
        await a.restart();
        for (const machine of [a, b, a]) await machine.syncAll();
        expect(a.todo.head(), `step ${n}`).toBe(b.todo.head());
        expect(a.todo.contents()["/last"]).toBe("of a");
        expect((await fleet.clone()).todo.contents(), `step ${n}`).toEqual(a.todo.contents());
      }
      // A pack, a head and what it replaces; a merged pack, marks, a head and what it replaces.
      expect(steps).toBe(IS_LONG ? 21 : 7);
    }, 60_000);
  }
});
