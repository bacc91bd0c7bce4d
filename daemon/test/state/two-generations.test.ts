import { expect, test } from "vitest";
import { TwoGenerations } from "../../src/state/two-generations.ts";

/** How many of these keys are held; as asking promotes, it may find fewer, and never more. */
function held(cache: TwoGenerations<number, number>, keys: number): number {
  return Array.from({ length: keys }, (_, key) => key).filter((key) => cache.get(key) !== undefined).length;
}

test("by number: what was used since the last turn of generations stays", () => {
  const cache = new TwoGenerations<number, string>(10);
  for (let key = 0; key < 15; key++) cache.set(key, `${key}`);
  expect(cache.get(0)).toBe("0");
  for (let key = 15; key < 21; key++) cache.set(key, `${key}`);
  expect([cache.get(0), cache.get(1), cache.get(14)]).toEqual(["0", undefined, "14"]);
});

test("by weight: about twice the limit is held, however heavy each is", () => {
  for (const weight of [1, 10, 99, 300]) {
    const cache = new TwoGenerations<number, number>(1000, (one) => one);
    for (let key = 0; key < 5000; key++) cache.set(key, weight);
    const weighs = held(cache, 5000) * weight;
    expect(weighs).toBeGreaterThan(900);
    expect(weighs).toBeLessThanOrEqual(2 * (1000 + weight));
  }
});

test("what is promoted weighs as before", () => {
  const cache = new TwoGenerations<number, number>(1000, (one) => one);
  for (let key = 0; key < 2000; key++) {
    cache.set(key, 100);
    // The oldest ones, as often as they are there.
    for (let old = key - 12; old < key; old++) cache.get(old);
  }
  expect(held(cache, 2000)).toBeLessThanOrEqual(22);
});

test.for([
  ["set again", (): void => {}],
  ["deleted", (cache: TwoGenerations<number, number>): void => cache.delete(1)],
] as const)("what is %s weighs nothing any more", ([, end]) => {
  const cache = new TwoGenerations<number, number>(1000, (one) => one);
  cache.set(0, 100);
  for (let round = 0; round < 100; round++) {
    cache.set(1, 100 + round);
    end(cache);
  }
  // No generation has turned.
  expect(cache.get(0)).toBe(100);
});
