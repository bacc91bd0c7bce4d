import {
  decodeTreeNode,
  encodeTreeNode,
  type Hash,
  type Key,
  keyText,
  parseKey,
  sha256,
  type TreeNode,
} from "@vlinder/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Lineage } from "../../src/storage/object-storage.ts";
import { PackedNode } from "../../src/state/tree/packed-node.ts";
import type { Spot } from "../../src/state/tree/spot.ts";
import { holds } from "./property.ts";

const RUNS = 1500;

/** Keys that begin alike for a while, with lengths of one byte and of two, and characters of several bytes. */
const keys = fc
  .tuple(
    fc.constantFrom("", "/", "/a", "/k/", `/${"long".repeat(40)}`, `/${"é".repeat(70)}`, `/${"x".repeat(900)}`),
    fc.oneof(
      fc.string({ minLength: 1, maxLength: 4, unit: fc.constantFrom("a", "b", "é", "中", "/", "~") }),
      fc.nat(300).map(String),
    ),
  )
  .map(([first, rest]) => parseKey(first + rest));

const size = fc.oneof(fc.nat(200), fc.nat(2 ** 31 - 1), fc.constant(Number.MAX_SAFE_INTEGER));

const nodes: fc.Arbitrary<TreeNode> = fc
  .record({
    version: fc.constantFrom(1 as const, 2 as const),
    level: fc.constantFrom(0, 1, 3),
    entries: fc.uniqueArray(fc.tuple(keys, size, fc.integer({ min: 1, max: 2 ** 40 })), {
      minLength: 1,
      maxLength: 140,
      selector: ([key]) => key,
    }),
  })
  .map(({ version, level, entries }) => {
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      version,
      level,
      keys: entries.map(([key]) => key),
      hashes: entries.map(([key], i) => sha256(`${i} ${key}`)),
      sizes: entries.map(([, bytes]) => bytes),
      counts: level === 0 ? [] : entries.map(([, , count]) => count),
    };
  });

const read = (node: TreeNode): PackedNode => PackedNode.read(encodeTreeNode(node), new Lineage(sha256("stored")));

test("what is read from the bytes is what was written", async () => {
  const property = fc.asyncProperty(nodes, async (node) => {
    const packed = read(node);
    expect(packed.unpacked()).toEqual(node);
    expect([packed.count, packed.level, packed.version]).toEqual([node.keys.length, node.level, node.version]);
    const { keys: read_, places } = packed.layout();
    expect(read_).toEqual(node.keys);
    expect(places.map((at) => packed.bytes.toString("hex", at, at + 32))).toEqual(node.hashes);
    expect(packed.changedChildren(), "nothing was changed").toEqual([]);
    expect(PackedNode.of(node).changedChildren()).toEqual(node.level === 0 ? [] : node.hashes);
  });
  await holds("packed nodes", property, RUNS);
});

test("a key is found where it is, or the next one where it is not", async () => {
  const property = fc.asyncProperty(nodes, fc.array(keys, { maxLength: 30 }), async (node, others) => {
    const packed = read(node);
    for (const key of [...node.keys, ...others, "" as Key, "\xff" as Key]) {
      const index = node.keys.findIndex((one) => one >= key);
      const spot = packed.seek(key);
      expect(spot?.index ?? -1, keyText(key)).toBe(index);
      if (spot === null) continue;
      expect(spot.isExact).toBe(node.keys[index] === key);
      expect([packed.hashAt(spot), packed.sizeAt(spot), packed.countAt(spot)]).toEqual([
        node.hashes[index],
        node.sizes[index],
        node.counts[index] ?? 1,
      ]);
    }
  });
  await holds("seeking", property, RUNS);
});

test("one entry changed gives the bytes that the whole would be written as, and says which it was", async () => {
  const at = fc.nat();
  const more = fc.integer({ min: -200, max: 100_000 });
  const property = fc.asyncProperty(nodes, at, more, async (node, n, bytes) => {
    const i = n % node.keys.length;
    const old = node.sizes[i] as number;
    const added = Math.min(Math.max(bytes, -old), Number.MAX_SAFE_INTEGER - old);
    const moreKeys = node.level === 0 ? 0 : 1;
    const hash = sha256("another");
    const packed = read(node);
    const before = Buffer.from(packed.bytes);
    const spot = packed.seek(node.keys[i] as Key);
    if (spot === null) throw new Error("it is there");
    const next = packed.with(spot, hash, added, moreKeys);
    const counts = node.level === 0 ? [] : node.counts.with(i, (node.counts[i] as number) + moreKeys);
    const wanted: TreeNode = {
      ...node,
      hashes: node.hashes.with(i, hash),
      sizes: node.sizes.with(i, old + added),
      counts,
    };
    expect(next.bytes).toEqual(encodeTreeNode(wanted));
    expect(next.unpacked()).toEqual(wanted);
    expect(next.changedChildren()).toEqual(node.level === 0 ? [] : i < 31 ? [hash] : wanted.hashes);
    expect([packed.bytes, packed.unpacked()], "the one before stays").toEqual([before, node]);
  });
  await holds("changed entries", property, RUNS);
});

test("of each of 40 children it is known which was changed; from the 32nd on any may have been", () => {
  const keys_ = Array.from({ length: 40 }, (_, i) => parseKey(`/${String(i).padStart(2, "0")}`));
  const hashes = keys_.map((key) => sha256(key));
  const counts = keys_.map(() => 1);
  const packed = read({ version: 2, level: 1, keys: keys_, hashes, sizes: counts, counts });
  for (const [i, key] of keys_.entries()) {
    const hash = sha256(`new ${i}`);
    const next = packed.with(packed.seek(key) as Spot, hash, 0, 0);
    expect(next.changedChildren(), String(i)).toEqual(i < 31 ? [hash] : hashes.with(i, hash));
  }
});

test("keys may be as long as any, and have as much in common", () => {
  for (const n of [1, 126, 127, 128, 129, 255, 256, 1022]) {
    const [a, b] = [`/${"x".repeat(n - 1)}a`, `/${"x".repeat(n - 1)}b`].map(parseKey) as [Key, Key];
    const node: TreeNode = {
      version: 2,
      level: 0,
      keys: [a, b],
      hashes: [sha256(a), sha256(b)],
      sizes: [1, 2],
      counts: [],
    };
    const packed = read(node);
    expect([packed.unpacked(), packed.seek(a)?.index, packed.seek(b)?.index]).toEqual([node, 0, 1]);
  }
});

test("a node with an entry more or less, or another one, has the bytes that the whole would be written as", async () => {
  const several = nodes.filter(({ keys: { length } }) => length > 1);
  const property = fc.asyncProperty(several, fc.nat(), async (node, n) => {
    const i = n % node.keys.length;
    const less: TreeNode = {
      ...node,
      keys: node.keys.toSpliced(i, 1),
      hashes: node.hashes.toSpliced(i, 1),
      sizes: node.sizes.toSpliced(i, 1),
      counts: node.counts.toSpliced(i, 1),
    };
    const [packed, without] = [read(node), read(less)];
    const removed = packed.spliced(i, 1, null);
    expect([removed.bytes, removed.unpacked()]).toEqual([encodeTreeNode(less), less]);
    const [key, hash, size_] = [node.keys[i] as Key, node.hashes[i] as Hash, node.sizes[i] as number];
    const entry = { key, hash, size: size_, count: node.counts[i] ?? 1 };
    const back = without.spliced(i, 0, entry);
    expect([back.bytes, back.unpacked()]).toEqual([encodeTreeNode(node), node]);
    expect(decodeTreeNode(back.bytes)).toEqual(node);
    const other = packed.spliced(i, 1, { ...entry, size: 7 });
    expect(other.bytes).toEqual(encodeTreeNode({ ...node, sizes: node.sizes.with(i, 7) }));
  });
  await holds("spliced leaves", property, RUNS);
});

test("bytes that are cut, or have more behind them, or are noise, are no node", async () => {
  const lineage = new Lineage(null);
  const refused = (bytes: Buffer): void => expect(() => PackedNode.read(bytes, lineage)).toThrow();
  const property = fc.asyncProperty(nodes, fc.nat(), fc.uint8Array({ maxLength: 60 }), async (node, n, noise) => {
    const bytes = encodeTreeNode(node);
    refused(bytes.subarray(0, n % bytes.length));
    refused(Buffer.concat([bytes, noise, Buffer.of(0)]));
  });
  await holds("cut nodes", property, RUNS);
  // Numbers of many bytes: as a count, a length of three bytes in a key's place, a size.
  const many = Buffer.alloc(200, 0xff);
  refused(Buffer.concat([Buffer.of(2, 0), many, Buffer.of(1), Buffer.alloc(100)]));
  refused(Buffer.concat([Buffer.of(2, 0, 1, 0, 0x81, 0x80), Buffer.alloc(0x4001 + 32 + 1)]));
  refused(Buffer.concat([Buffer.of(2, 0, 1, 0x81, 0x80), Buffer.alloc(1 + 32 + 1)]));
  for (const level of [0, 1]) {
    refused(
      Buffer.concat([Buffer.of(2, level, 1, 0, 1, 0x61), Buffer.alloc(32), many, Buffer.of(1, 1).subarray(level)]),
    );
    refused(Buffer.concat([Buffer.of(2, level, 1, 0, 1, 0x61), Buffer.alloc(32), many, Buffer.of(1, 1)]));
  }
  for (const bytes of ["", "02", "0200", "020000", "020001", "020081", "0200ff", "02000100", "0200010080"])
    refused(Buffer.from(bytes, "hex"));
});
