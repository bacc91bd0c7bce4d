import fc from "fast-check";
import { expect, test } from "vitest";
import { SLOT_BYTES, slotCount, slotData, slotFlags, slotHash } from "../../src/storage/backends/sqlite/block.ts";
import { blocksOf, type Stored } from "../../src/storage/backends/sqlite/blocks-of.ts";
import { packTransaction } from "../../src/storage/backends/sqlite/packed-transaction.ts";
import { replyKey } from "../../src/storage/backends/sqlite/reply-key.ts";
import { SHELVES } from "../../src/storage/backends/sqlite/shelves.ts";
import { unpackTransaction } from "../../src/storage/backends/sqlite/unpacked-transaction.ts";
import { type BranchMove, KINDS, type Transaction } from "../../src/storage/object-storage.ts";
import { hashOf, objects, value } from "./samples.ts";

const [A, B] = [hashOf("a"), hashOf("b")];
const TIME = "2026-11-20T21:40:00.123Z";
const NOTHING: Stored = { has: () => false, base: () => null };
const pack = ({ objects: list, branches, replies, notes = [] }: Transaction): ArrayBuffer =>
  packTransaction(blocksOf(list, replies, NOTHING).blocks, branches, notes);

const move: BranchMove = { id: A, name: "main", expected: null, next: B, why: "kv.put", time: TIME };

const anyHash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => hashOf(bytes));
const anyTransaction: fc.Arbitrary<Transaction> = fc.record({
  objects: fc.array(fc.record({ kind: fc.constantFrom(...KINDS), hash: anyHash, bytes: fc.uint8Array() })),
  branches: fc.array(
    fc.record({
      id: anyHash,
      name: fc.string({ unit: "grapheme" }),
      expected: fc.option(anyHash),
      next: fc.option(anyHash),
      sealed: fc.boolean(),
      deleted: fc.array(anyHash, { maxLength: 3 }),
      why: fc.string(),
      time: fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    }),
  ),
  replies: fc.array(
    fc.record({ id: fc.string(), request: anyHash, reply: fc.string({ unit: "grapheme" }), time: fc.nat() }),
  ),
  notes: fc.array(fc.record({ name: fc.string({ unit: "grapheme" }), bytes: fc.option(fc.uint8Array()) })),
});

test("gives back what was packed", () => {
  fc.assert(
    fc.property(anyTransaction, (transaction) => {
      const unpacked = unpackTransaction(pack(transaction));
      const found = unpacked.blocks.flatMap((block) =>
        Array.from({ length: slotCount(block) }, (_, slot) => {
          const name = `${SHELVES[slotFlags(block.head, slot)]} ${slotHash(block.head, slot).toString("hex")}`;
          return [name, slotData(block, slot).toString("latin1")] as const;
        }),
      );
      // Of two with one name the first counts.
      const expected = new Map<string, string>();
      for (const { kind, hash, bytes } of transaction.objects) {
        const name = `${kind} ${hash}`;
        if (!expected.has(name)) expected.set(name, Buffer.from(bytes).toString("latin1"));
      }
      for (const { id, request, reply, time } of transaction.replies) {
        const bytes = Buffer.alloc(40);
        bytes.writeDoubleLE(time);
        bytes.write(request, 8, "hex");
        const name = `reply ${replyKey(id)}`;
        if (!expected.has(name)) expected.set(name, Buffer.concat([bytes, Buffer.from(reply)]).toString("latin1"));
      }
      const byName = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : 1);
      expect(found.toSorted(byName)).toEqual([...expected].toSorted(byName));
      expect(
        unpacked.branches.map((one) => ({
          ...one,
          id: one.id.toString("hex"),
          expected: one.expected?.toString("hex") ?? null,
          next: one.next?.toString("hex") ?? null,
          deleted: one.deleted.map((hash) => hash.toString("hex")),
          time: new Date(one.time).toISOString(),
        })),
      ).toEqual(transaction.branches);
      expect(unpacked.notes.map(({ name, bytes }) => [name, bytes && [...bytes]])).toEqual(
        transaction.notes?.map(({ name, bytes }) => [name, bytes && [...bytes]]),
      );
    }),
  );
});

test("leaves the seal open when a move says nothing of it", () => {
  const [unpacked] = unpackTransaction(pack({ ...objects(), branches: [move] })).branches;
  expect(unpacked?.sealed).toBe(null);
});

test("refuses a buffer that is cut or too long", () => {
  const packed = Buffer.from(
    pack({
      objects: [value(1), value(2, 100)],
      branches: [move],
      replies: [{ id: "id", request: A, reply: "{}", time: 1 }],
      notes: [{ name: "note", bytes: Buffer.from("bytes") }],
    }),
  );
  const unpack = (bytes: Uint8Array) => unpackTransaction(new Uint8Array(bytes).buffer);
  expect(unpack(packed).blocks).toHaveLength(2);
  for (let length = 0; length < packed.length; length++)
    expect(() => unpack(packed.subarray(0, length))).toThrow(/cut/);
  expect(() => unpack(Buffer.concat([packed, Buffer.alloc(1)]))).toThrow(/left over/);
  const counts = Buffer.from(packed);
  counts.writeUInt32LE(0xffffffff, 0);
  expect(() => unpack(counts)).toThrow(/cut/);
});

test("refuses what has no packed form", () => {
  expect(() => pack({ ...objects(), branches: [{ ...move, time: "yesterday" }] })).toThrow(/time/);
  expect(() => pack({ ...objects(), branches: [{ ...move, id: "xyz" as typeof A }] })).toThrow(/hash/);
  const huge = { ...value(1), bytes: Object.defineProperty(new Uint8Array(), "length", { value: 1_000_000_000 }) };
  expect(() => pack(objects(huge))).toThrow(/larger/);
});

test("small transactions are one block, larger ones are cut by kind so that rows fit on pages", () => {
  const small = [value(1, 256), { ...value(2, 400), kind: "commit" as const }];
  expect(blocksOf(small, [], NOTHING).blocks).toHaveLength(1);
  const many = Array.from({ length: 64 }, (_, at) => [
    value(at, 256),
    { ...value(`c${at}`, 420), kind: "commit" as const },
  ]).flat();
  const { blocks } = blocksOf([...many, value("large", 60_000)], [], NOTHING);
  for (const { items, size } of blocks) {
    expect(new Set(items.map(({ shelf }) => shelf)).size).toBe(1);
    if (items.length > 1) expect(SLOT_BYTES * items.length + size).toBeLessThanOrEqual(4040);
  }
  expect(blocks.length).toBeLessThan(16);
});
