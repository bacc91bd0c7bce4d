import { type Hash, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { type Step, Ways } from "../../src/state/ways.ts";
import { dice } from "../sync/noise.ts";

const SNAPSHOT = sha256(Buffer.from("snapshot"));

function commit(n: number): Hash {
  return sha256(Buffer.from(`commit ${n}`));
}

/** Commits from `newest` down to above `end`. */
function steps(newest: number, end: number, text: (n: number) => string): Step[] {
  return Array.from({ length: newest - end }, (_, i) => ({ commit: commit(newest - i), text: text(newest - i) }));
}

test("leads to the first commit that names the key, else to its end", () => {
  const roll = dice(3);
  for (let round = 0; round < 200; round++) {
    const ways = new Ways();
    const length = roll(6);
    const texts = Array.from({ length }, () => "x".repeat(roll(3)) + (roll(3) === 0 ? '"/key"' : ""));
    const snapshot = roll(2) === 0 ? SNAPSHOT : null;
    ways.add(
      steps(length, 0, (n) => texts[n - 1] as string),
      commit(0),
      snapshot,
    );
    for (let from = 0; from <= length; from++) {
      const passage = ways.from(commit(from), '"/key"');
      if (from === 0 && snapshot === null) {
        expect(passage).toBeNull();
        continue;
      }
      let naming = from;
      while (naming > 0 && !texts[naming - 1]?.includes("key")) naming--;
      const names = naming > 0;
      expect(passage).toEqual({ to: commit(naming), names, snapshot: names ? null : snapshot });
    }
  }
});

test("is bounded, and what was gone first goes first", () => {
  const ways = new Ways();
  const text = "x".repeat(10_000);
  for (let way = 0; way < 300; way++)
    ways.add(
      steps(way * 10 + 5, way * 10, () => text),
      commit(way * 10),
      SNAPSHOT,
    );
  const known = Array.from({ length: 300 }, (_, way) => ways.has(commit(way * 10 + 3)));
  const kept = known.filter(Boolean).length;
  expect(kept).toBeGreaterThan(30);
  expect(kept).toBeLessThan(40);
  expect(known.indexOf(true)).toBe(300 - kept);
  // Its end goes with it.
  expect(known.map((_, way) => ways.has(commit(way * 10)))).toEqual(known);
});

test("what was noted twice goes once", () => {
  const ways = new Ways();
  ways.add(
    steps(5, 0, () => "first"),
    commit(0),
    SNAPSHOT,
  );
  ways.add(
    steps(7, 0, () => "second"),
    commit(0),
    null,
  );
  ways.drop(commit(0));
  expect(ways.from(commit(3), "second")).toMatchObject({ to: commit(3), names: true });
  expect(ways.has(commit(0))).toBe(false);
  ways.drop(commit(6));
  expect(ways.has(commit(3))).toBe(false);
  ways.drop(commit(6));
});

test("what is dropped leaves the others to be bounded", () => {
  const ways = new Ways();
  const text = "x".repeat(10_000);
  for (let way = 0; way < 3; way++)
    ways.add(
      steps(way * 10 + 5, way * 10, () => text),
      commit(way * 10),
      null,
    );
  ways.drop(commit(12));
  expect([3, 13, 23].map((n) => ways.has(commit(n)))).toEqual([true, false, true]);
  for (let way = 3; way < 60; way++)
    ways.add(
      steps(way * 10 + 5, way * 10, () => text),
      commit(way * 10),
      null,
    );
  expect([3, 13, 23].map((n) => ways.has(commit(n)))).toEqual([false, false, false]);
});

test("a way of nothing, to nothing, is none", () => {
  const ways = new Ways();
  ways.add([], commit(1), null);
  expect(ways.has(commit(1))).toBe(false);
});
