import fc from "fast-check";
import { expect, test } from "vitest";
import { packTransaction, replyKey } from "../../src/storage/backends/sqlite/packed-transaction.ts";
import { unpackTransaction } from "../../src/storage/backends/sqlite/unpacked-transaction.ts";
import { type BranchMove, KINDS, type Transaction } from "../../src/storage/object-storage.ts";
import { hashOf, objects, value } from "./samples.ts";

const [A, B] = [hashOf("a"), hashOf("b")];
const TIME = "2026-11-20T21:40:00.123Z";
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
      const unpacked = unpackTransaction(packTransaction(transaction));
      expect(
        unpacked.objects.map(({ shelf, hash, bytes }) => [KINDS[shelf], hash.toString("hex"), [...bytes]]),
      ).toEqual(transaction.objects.map(({ kind, hash, bytes }) => [kind, hash, [...bytes]]));
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
      expect(
        unpacked.replies.map(({ key, request, reply, time }) => [
          key.toString("hex"),
          request.toString("hex"),
          reply.toString("utf8"),
          time,
        ]),
      ).toEqual(transaction.replies.map(({ id, request, reply, time }) => [replyKey(id), request, reply, time]));
      expect(unpacked.notes.map(({ name, bytes }) => [name, bytes && [...bytes]])).toEqual(
        transaction.notes?.map(({ name, bytes }) => [name, bytes && [...bytes]]),
      );
    }),
  );
});

test("leaves the seal open when a move says nothing of it", () => {
  const [unpacked] = unpackTransaction(packTransaction({ ...objects(), branches: [move] })).branches;
  expect(unpacked?.sealed).toBe(null);
});

test("refuses a buffer that is cut, too long or of an unknown kind", () => {
  const packed = Buffer.from(
    packTransaction({
      objects: [value(1), value(2, 100)],
      branches: [move],
      replies: [{ id: "id", request: A, reply: "{}", time: 1 }],
    }),
  );
  const unpack = (bytes: Uint8Array) => unpackTransaction(new Uint8Array(bytes).buffer);
  expect(unpack(packed).objects).toHaveLength(2);
  for (let length = 0; length < packed.length; length++)
    expect(() => unpack(packed.subarray(0, length))).toThrow(/cut/);
  expect(() => unpack(Buffer.concat([packed, Buffer.alloc(1)]))).toThrow(/left over/);
  const counts = Buffer.from(packed);
  counts.writeUInt32LE(0xffffffff, 0);
  expect(() => unpack(counts)).toThrow(/cut/);
  const kind = Buffer.from(packed);
  kind.writeUInt8(KINDS.length, 16);
  expect(() => unpack(kind)).toThrow(/kind/);
});

test("refuses what has no packed form", () => {
  expect(() => packTransaction({ ...objects(), branches: [{ ...move, time: "yesterday" }] })).toThrow(/time/);
  expect(() => packTransaction({ ...objects(), branches: [{ ...move, id: "xyz" as typeof A }] })).toThrow(/hash/);
  const huge = { ...value(1), bytes: Object.defineProperty(new Uint8Array(), "length", { value: 1_000_000_000 }) };
  expect(() => packTransaction(objects(huge))).toThrow(/larger/);
});
