import { sha256 } from "@vlinder/protocol";
import { expect, onTestFinished, test, vi } from "vitest";
import { Ring } from "../../src/state/ring.ts";
import { dice } from "../sync/noise.ts";

test("what is overwritten or taken out often is found as soon as what is not", () => {
  const ring = new Ring("latin1", 4, 4);
  const bytes = Buffer.alloc(38);
  ring.add(1, "/counter", bytes);
  // Were each of them a step on the way to it, this would take minutes.
  for (let i = 0; i < 30_000; i++) {
    bytes.writeUInt32LE(i);
    ring.set(1, "/counter", bytes.subarray(0, 38 - (i % 2)));
    ring.delete(1, "/other");
    ring.add(1, "/other", bytes);
  }
  expect(ring.get(1, "/counter")?.readUInt32LE()).toBe(29_999);
  expect(ring.get(1, "/other")).toEqual(bytes);
});

test("nothing of what is taken out stays in memory, also where it was written anew", () => {
  const pieces = vi.spyOn(Buffer, "alloc");
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

test("of what is taken out the lengths stay, and nothing else", () => {
  const pieces = vi.spyOn(Buffer, "alloc");
  onTestFinished(() => pieces.mockRestore());
  const ring = new Ring("latin1", 1, 1);
  ring.add(7, "/secret", Buffer.from("a secret that is erased"));
  ring.delete(7, "/secret");
  const piece = pieces.mock.results[0]?.value as Buffer;
  expect([piece.readUInt16LE(8), piece.readUInt16LE(10)]).toEqual([7, 23]);
  expect(piece.fill(0, 8, 12).equals(Buffer.from(new Uint8Array(piece.length)))).toBe(true);
});

test("nothing of what is written over by less stays", () => {
  const pieces = vi.spyOn(Buffer, "alloc");
  onTestFinished(() => pieces.mockRestore());
  const ring = new Ring("latin1", 1, 1);
  ring.add(1, "/a", Buffer.from("what he said: word"));
  ring.set(1, "/a", Buffer.from("what he said: "));
  expect(ring.get(1, "/a")?.toString()).toBe("what he said: ");
  expect(pieces.mock.results.some(({ value }) => (value as Buffer).includes("word"))).toBe(false);
});

const MB = 1 << 20;
const BYTES = Buffer.alloc(1000);
const NOTHING = Buffer.from("nothing");

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
  const pieces = vi.spyOn(Buffer, "alloc");
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

test("what yields is there until something of its length needs the place, and what is live stays", () => {
  const ring = new Ring("latin1", 2, 2);
  const value = (n: number): Buffer => Buffer.alloc(1000, n);
  for (let key = 0; key < 1500; key++) ring.add(1, `/${key} 0`, value(key));
  ring.yield(1, "/0 0");
  expect(ring.get(1, "/0 0")).toEqual(value(0));
  // Ten times what has room: each is written in the place of the one before it.
  for (let version = 1; version <= 15; version++) {
    for (let key = 0; key < 1500; key++) {
      ring.yield(1, `/${key} ${version - 1}`);
      ring.add(1, `/${key} ${version}`, value(key + version));
    }
  }
  for (let key = 0; key < 1500; key++) expect(ring.get(1, `/${key} 15`)).toEqual(value(key + 15));
});

test("what nobody has looked at is checked once, and thrown out when it is not good", () => {
  const ring = new Ring("latin1", 2, 2);
  const check = vi.fn((bytes: Buffer) => bytes.equals(BYTES));
  ring.add(1, "/good", BYTES, true);
  ring.add(1, "/bad", Buffer.alloc(1000, 7), true);
  ring.add(1, "/own", Buffer.alloc(1000, 7));
  for (let i = 0; i < 2; i++) {
    expect(["/good", "/bad", "/own"].map((name) => ring.get(1, name, check)?.[0])).toEqual([0, undefined, 7]);
  }
  expect(check).toHaveBeenCalledTimes(2);
});

test("what is asked for, or set, yields no more", () => {
  const ring = new Ring("latin1", 2, 2);
  const names = ["/got", "/set", "/left"];
  for (const name of names) ring.add(1, name, BYTES);
  for (const name of names) ring.yield(1, name);
  expect(ring.get(1, "/got")).toEqual(BYTES);
  ring.set(1, "/set", Buffer.alloc(1000, 1));
  for (let i = 0; i < 3; i++) ring.add(1, `/${i}`, BYTES);
  expect(ring.get(1, "/got")).toEqual(BYTES);
  expect(ring.get(1, "/set")).toEqual(Buffer.alloc(1000, 1));
  expect(ring.get(1, "/left")).toBeUndefined();
});

test("what is written in the oldest piece is not the next to go", () => {
  const ring = new Ring("latin1", 2, 2);
  const fill = (from: number): void => {
    for (let i = from; i < from + 900; i++) ring.add(1, `/${i}`, BYTES);
  };
  fill(0);
  fill(900);
  ring.yield(1, "/0");
  ring.add(1, "/a", BYTES);
  fill(1800);
  expect(ring.get(1, "/1")).toBeUndefined();
  expect(ring.get(1, "/a")).toEqual(BYTES);
});

test("what was asked for once goes in the end", () => {
  const ring = new Ring("latin1", 2, 2);
  ring.add(1, "/a", BYTES);
  expect(ring.get(1, "/a")).toEqual(BYTES);
  for (let i = 0; i < 8000; i++) ring.add(1, `/${i}`, BYTES);
  expect(ring.get(1, "/a")).toBeUndefined();
});

test("what yielded and is kept again does not yield", () => {
  const ring = new Ring("latin1", 2, 2);
  ring.add(1, "/a", BYTES);
  ring.yield(1, "/a");
  ring.add(1, "/a", BYTES);
  ring.add(1, "/b", BYTES);
  expect([ring.get(1, "/a"), ring.get(1, "/b")]).toEqual([BYTES, BYTES]);
});

test("what is asked for stays while what is not goes by", () => {
  const ring = new Ring("latin1", 2, 2);
  for (let i = 0; i < 300; i++) ring.add(1, `/used ${i}`, BYTES);
  for (let i = 0; i < 20_000; i++) {
    ring.add(1, `/${i}`, BYTES);
    expect(ring.get(1, `/used ${i % 300}`)).toBeDefined();
  }
});

test.each([1, 2, 3, 4, 5, 6])("a ring never gives what was not last kept (seed %i)", (seed) => {
  const roll = dice(seed);
  const ring = new Ring("latin1", 1 + roll(2), 1 + roll(3));
  const names = [40, 400][seed % 2] as number;
  const kept = new Map<string, Buffer>();
  let found = 0;
  for (let step = 0; step < 20_000; step++) {
    const [owner, name] = [1 + roll(2), `/${roll(names)}`];
    const id = `${owner}${name}`;
    const bytes = Buffer.alloc(roll(5) === 0 ? roll(65_536) : roll(8) * 500, step);
    const what = roll(20);
    if (what < 8) {
      const known = kept.get(id);
      const held = ring.get(owner, name);
      if (held !== undefined) found++;
      if (held !== undefined && held.compare(known ?? NOTHING) !== 0) expect(held).toEqual(known);
    } else if (what < 13) {
      const before = ring.set(owner, name, bytes);
      if (before !== undefined) expect(before.equals(kept.get(id) ?? NOTHING)).toBe(true);
      kept.set(id, bytes);
    } else if (what < 16) {
      if (ring.get(owner, name) === undefined) kept.set(id, bytes);
      ring.add(owner, name, bytes);
    } else if (what < 19) {
      ring.yield(owner, name);
    } else {
      ring.delete(owner, name);
      expect(ring.get(owner, name)).toBeUndefined();
    }
  }
  expect(found).toBeGreaterThan(300);
});

test("what would all have room makes it grow from its least, what never would does not", () => {
  const ring = new Ring("latin1", 1, 40);
  use(ring, 300_000, 100_000);
  expect(ring.size).toBe(MB);
  use(ring, 30_000, 300_000);
  expect(ring.size).toBeGreaterThan(28 * MB);
});

test.each([2.5, 20])("what is read in turn makes it grow until all of it has room (%d MB)", (size) => {
  const ring = new Ring("hex", 2, 40);
  const names = Array.from({ length: size * 950 }, (_, i) => sha256(`${i}`));
  let found = 0;
  for (let round = 0; round < 40; round++) {
    found = 0;
    for (const name of names) {
      if (ring.get(1, name) === undefined) ring.add(1, name, BYTES);
      else found++;
    }
  }
  expect(found).toBe(names.length);
});

test("of what is many times larger than it may be, read in turn, it keeps the least", () => {
  const ring = new Ring("latin1", 1, 8);
  for (let i = 0; i < 200_000; i++) {
    const name = `/${i % 50_000}`;
    if (ring.get(1, name) === undefined) ring.add(1, name, BYTES);
  }
  expect(ring.size).toBe(MB);
});

test("one name of many owners is found as soon as many names of one", () => {
  const ring = new Ring("latin1", 8, 8);
  // Were each of them a step on the way to the others, this would take minutes.
  for (let owner = 1; owner <= 80_000; owner++) ring.add(owner, "/a", Buffer.from(`${owner}`));
  for (let owner = 80_000; owner > 0; owner--) expect(ring.get(owner, "/a")?.toString()).toBe(`${owner}`);
});

test("a name of no length is not kept, and keeps nothing else from staying", () => {
  const ring = new Ring("latin1", 1, 1);
  ring.add(1, "", BYTES);
  expect(ring.get(1, "")).toBeUndefined();
  ring.add(1, "/a", BYTES);
  ring.get(1, "/a");
  for (let i = 0; i < 900; i++) ring.add(1, `/${i}`, BYTES);
  ring.get(1, "/a");
  for (let i = 0; i < 500; i++) ring.add(1, `/more ${i}`, BYTES);
  expect(ring.get(1, "/a")).toEqual(BYTES);
});
