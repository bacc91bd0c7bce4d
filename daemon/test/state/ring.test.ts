import { expect, onTestFinished, test, vi } from "vitest";
import { Ring } from "../../src/state/ring.ts";

test("what is overwritten or taken out often is found as soon as what is not", () => {
  const ring = new Ring("latin1", 4, 4);
  const bytes = Buffer.alloc(38);
  ring.add(1, "/counter", bytes);
  // Were each of them a step on the way to it, this would take minutes.
  for (let i = 0; i < 30_000; i++) {
    bytes.writeUInt32LE(i);
    ring.replace(1, "/counter", bytes.subarray(0, 38 - (i % 2)));
    ring.delete(1, "/other");
    ring.add(1, "/other", bytes);
  }
  expect(ring.get(1, "/counter")?.readUInt32LE()).toBe(29_999);
  expect(ring.get(1, "/other")).toEqual(bytes);
  ring.replace(1, "/not there", bytes);
  expect(ring.get(1, "/not there")).toBeUndefined();
});

test("nothing of what is taken out stays in memory, also where it was written anew", () => {
  const pieces = vi.spyOn(Buffer, "allocUnsafeSlow");
  onTestFinished(() => pieces.mockRestore());
  const ring = new Ring("latin1", 4, 4);
  const secret = Buffer.from("a secret that is erased");
  ring.add(1, "/secret", secret);
  for (let i = 0; i < 52; i++) ring.add(1, `/${i}`, Buffer.alloc(65_000));
  expect(ring.get(1, "/secret")).toEqual(secret);
  const kept = (): number => pieces.mock.results.filter(({ value }) => (value as Buffer).includes(secret)).length;
  expect(kept()).toBe(1);
  ring.delete(1, "/secret");
  expect([kept(), ring.get(1, "/secret")]).toEqual([0, undefined]);
});

const MB = 1 << 20;
const BYTES = Buffer.alloc(1000);

/** Asks for names of this many at random, and adds what is not there. */
function use(ring: Ring, names: number, times: number): number {
  let found = 0;
  for (let i = 0, at = 7; i < times; i++, at = (Math.imul(at, 1_103_515_245) + 12_345) >>> 0) {
    const name = `/${(at >>> 8) % names}`;
    if (ring.get(1, name) === undefined) ring.add(1, name, BYTES);
    else found++;
  }
  return found / times;
}

test("a ring grows as long as it is of use, and gives back what is not", () => {
  const ring = new Ring("latin1", 2, 12);
  use(ring, 8_000, 40_000);
  expect([8, 9, 10, 11, 12]).toContain(ring.size / MB);
  expect(use(ring, 8_000, 8_000), "all of it has room now").toBeGreaterThan(0.95);
  use(ring, 1_000_000, 200_000);
  expect(ring.size, "of a hundred times as much it finds next to nothing").toBe(2 * MB);
});

test("what is only written makes it no larger than its least", () => {
  const ring = new Ring("latin1", 2, 12);
  for (let i = 0; i < 20_000; i++) ring.add(1, `/${i}`, BYTES);
  expect(ring.size).toBe(2 * MB);
  expect(ring.get(1, "/19999")).toEqual(BYTES);
  expect(ring.get(1, "/0")).toBeUndefined();
});

test("nothing stays of what was in a piece that is used again", () => {
  const pieces = vi.spyOn(Buffer, "allocUnsafeSlow");
  onTestFinished(() => pieces.mockRestore());
  const ring = new Ring("latin1", 2, 2);
  const secret = Buffer.from("a secret in the oldest piece");
  for (let i = 0; i < 10; i++) ring.add(1, `/before ${i}`, Buffer.alloc(65_000));
  ring.add(1, "/secret", secret);
  // The third piece begins in the place of the first, and hardly anything is in it.
  for (let i = 0; i < 24; i++) ring.add(1, `/${i}`, Buffer.alloc(65_000));
  expect(ring.get(1, "/secret")).toBeUndefined();
  expect(pieces.mock.results.some(({ value }) => (value as Buffer).includes(secret))).toBe(false);
});
