import { expect, onTestFinished, test, vi } from "vitest";
import { Ring } from "../../src/state/ring.ts";

test("what is overwritten or taken out often is found as soon as what is not", () => {
  const ring = new Ring("latin1", 4);
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
  const ring = new Ring("latin1", 4);
  const secret = Buffer.from("a secret that is erased");
  ring.add(1, "/secret", secret);
  for (let i = 0; i < 52; i++) ring.add(1, `/${i}`, Buffer.alloc(65_000));
  expect(ring.get(1, "/secret")).toEqual(secret);
  const kept = (): number => pieces.mock.results.filter(({ value }) => (value as Buffer).includes(secret)).length;
  expect(kept()).toBe(1);
  ring.delete(1, "/secret");
  expect([kept(), ring.get(1, "/secret")]).toEqual([0, undefined]);
});
