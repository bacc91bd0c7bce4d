import { zstdCompressSync } from "node:zlib";
import { sha256 } from "@vlinder/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Kind, KINDS, type StoredObject } from "../../src/storage/object-storage.ts";
import { decodePack, encodePack, PACK_LIMITS } from "../../src/sync/pack.ts";
import { PACK_CUT, PackWriter, type WrittenPack } from "../../src/sync/pack-writer.ts";

function object(kind: Kind, text: string | Uint8Array): StoredObject {
  const bytes = Buffer.from(text as string);
  return { kind, hash: kind === "list" ? sha256(`value of ${bytes.toString("hex")}`) : sha256(bytes), bytes };
}

const one = (bytes: Buffer): Buffer => packOf(Buffer.concat([Buffer.from([1, bytes.length]), bytes]));

/** A pack by hand, uncompressed unless the header says otherwise. */
function packOf(raw: Buffer, header: Record<number, number> = {}, length = raw.length): Buffer {
  const bytes = Buffer.concat([Buffer.from("VLPACK\x01\0\0\0\0\0"), Buffer.alloc(4), raw]);
  bytes.writeUInt32LE(length, 12);
  for (const [at, value] of Object.entries(header)) bytes[Number(at)] = value;
  return bytes;
}

describe("the pack format", () => {
  test("has these bytes", async () => {
    const objects = KINDS.map((kind) => object(kind, `a ${kind}`));
    const { name, bytes } = await encodePack(objects, false);
    expect(bytes.toString("hex")).toBe(
      "564c5041434b010000000000" + // "VLPACK", version 1, not compressed, not encrypted, reserved
        "63000000" + // 99 bytes of payload
        "0107" +
        "612076616c7565" + // "a value"
        "0207" +
        "61206368756e6b" + // "a chunk"
        "03" +
        "9974f6c59f5eed1ec323fbb5eda5983f2730ecb5f4817a5b7de107d3f1ef3b96" +
        "06" +
        "61206c697374" +
        "0406" +
        "61206e6f6465" + // "a node"
        "0509" +
        "61206368616e676573" + // "a changes"
        "060a" +
        "6120736e617073686f74" + // "a snapshot"
        "0708" +
        "6120636f6d6d6974", // "a commit"
    );
    expect(name).toBe("f7941e75d71f0e79d312f1a91e0b5c2a9a9f830c28670bc3ec4e9aaf3f8a61f1");
    expect(await decodePack(bytes)).toEqual(objects);
  });

  test("reads what zstd packed in its first release", async () => {
    const stored = Buffer.from(
      "564c5041434b0101000000004301000028b52ffd00589500005801c002766c696e64657220010035538b17",
      "hex",
    );
    expect(sha256(stored)).toBe("bf2c936bfc0dcb8a3772845f0bee440a5571ee1b02744efb8aa3058e6fab239e");
    expect(await decodePack(stored)).toEqual([object("value", "vlinder ".repeat(40))]);
  });

  test("gives back any objects", async () => {
    const objects = fc.array(
      fc
        .tuple(fc.constantFrom(...KINDS), fc.uint8Array({ maxLength: 300 }))
        .map(([kind, bytes]) => object(kind, bytes)),
      { minLength: 1, maxLength: 50 },
    );
    await fc.assert(
      fc.asyncProperty(objects, fc.boolean(), async (list, packed) => {
        const { name, bytes } = await encodePack(list, packed);
        expect(name).toBe(sha256(bytes));
        expect(await decodePack(bytes)).toEqual(list);
      }),
      { numRuns: 100 },
    );
  });

  test("stores what does not compress as it is", async () => {
    const noise = Buffer.from(Array.from({ length: 64 }, (_, i) => sha256(`noise ${i}`)).join(""), "hex");
    const { bytes } = await encodePack([object("value", noise)]);
    expect(bytes[7]).toBe(0);
    expect(bytes.length).toBe(16 + 3 + noise.length);
  });
});

describe("a pack from outside", () => {
  const value = Buffer.from("abc");
  const refused: Record<string, Buffer> = {
    "is empty": Buffer.alloc(0),
    "is short": Buffer.from("VLPACK\x01"),
    "has another magic": packOf(value, { 0: 0x58 }),
    "has no payload": packOf(Buffer.alloc(0)),
    "has an unknown version": packOf(Buffer.concat([Buffer.from([1, 3]), value]), { 6: 2 }),
    "has an unknown compression": packOf(Buffer.concat([Buffer.from([1, 3]), value]), { 7: 2 }),
    "has an unknown encryption": packOf(Buffer.concat([Buffer.from([1, 3]), value]), { 8: 2 }),
    "has something in reserved bytes": packOf(Buffer.concat([Buffer.from([1, 3]), value]), { 10: 1 }),
    "has an unknown kind": packOf(Buffer.concat([Buffer.from([8, 3]), value])),
    "has kind 0": packOf(Buffer.concat([Buffer.from([0, 3]), value])),
    "has a record that runs over the end": packOf(Buffer.concat([Buffer.from([1, 4]), value])),
    "has a length in a longer form": packOf(Buffer.concat([Buffer.from([1, 0x83, 0]), value])),
    "has trailing bytes": Buffer.concat([one(value), Buffer.from([0])]),
    "is cut off": one(value).subarray(0, -1),
    "says more than it has": packOf(Buffer.concat([Buffer.from([1, 3]), value]), {}, 6),
    "says less than it has": packOf(Buffer.concat([Buffer.from([1, 3]), value]), {}, 4),
    "says more than the limit": packOf(Buffer.concat([Buffer.from([1, 3]), value]), {}, PACK_LIMITS.raw + 1),
    "is no zstd": packOf(Buffer.concat([Buffer.from([1, 3]), value]), { 7: 1 }),
    "has bytes behind the zstd data": packOf(
      Buffer.concat([zstdCompressSync(Buffer.from([1, 0])), value]),
      { 7: 1 },
      2,
    ),
    "has a second zstd frame": packOf(
      Buffer.concat([zstdCompressSync(Buffer.from([1, 0])), zstdCompressSync(Buffer.alloc(0))]),
      { 7: 1 },
      2,
    ),
    "unpacks to more than it says": packOf(zstdCompressSync(Buffer.alloc(1 << 20)), { 7: 1 }, 100),
    "unpacks to less than it says": packOf(zstdCompressSync(Buffer.from([1, 0])), { 7: 1 }, 100),
  };
  for (const [what, bytes] of Object.entries(refused)) {
    test(`that ${what} is invalid`, async () => {
      await expect(decodePack(bytes)).rejects.toMatchObject({ code: "invalid" });
    });
  }

  test("that is encrypted says what to do", async () => {
    await expect(decodePack(packOf(value, { 8: 1 }))).rejects.toMatchObject({ code: "invalid", remedy: /update/ });
  });

  test("with a zip bomb's ratio is bounded by its header, and the header by the limit", async () => {
    const bomb = zstdCompressSync(Buffer.alloc(200 << 20));
    expect(bomb.length).toBeLessThan(100_000);
    const before = process.memoryUsage().arrayBuffers;
    await expect(decodePack(packOf(bomb, { 7: 1 }, 1000))).rejects.toMatchObject({ code: "invalid" });
    await expect(decodePack(packOf(bomb, { 7: 1 }, PACK_LIMITS.raw))).rejects.toMatchObject({ code: "invalid" });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(150 << 20);
  });

  test("over the limit is refused, though its header tells the truth", async () => {
    const record = Buffer.alloc(PACK_LIMITS.raw + 5);
    record.set([1, 0x80, 0x80, 0x80, 0x20]);
    const over = zstdCompressSync(record);
    await expect(decodePack(packOf(over, { 7: 1 }, record.length))).rejects.toMatchObject({ code: "invalid" });
    const within = record.subarray(0, PACK_LIMITS.raw);
    within.set([1, 0xfb, 0xff, 0xff, 0x1f]);
    expect(await decodePack(packOf(zstdCompressSync(within), { 7: 1 }, within.length))).toHaveLength(1);
  });

  test("with millions of tiny records is refused at the limit", async () => {
    const raw = Buffer.alloc(2 * (PACK_LIMITS.records + 1));
    for (let i = 0; i < raw.length; i += 2) raw[i] = 1;
    await expect(decodePack(packOf(zstdCompressSync(raw), { 7: 1 }, raw.length))).rejects.toMatchObject({
      code: "invalid",
    });
  });

  test("changed anywhere gives other bytes' objects or a coded error, never a crash", async () => {
    const { bytes } = await encodePack(KINDS.map((kind) => object(kind, `a ${kind} `.repeat(20))));
    const mutation = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255), fc.constantFrom("set", "cut", "add"));
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
        let changed = Buffer.from(bytes);
        for (const [at, byte, how] of mutations) {
          const i = at % changed.length;
          if (how === "set") changed[i] = byte;
          else if (how === "cut" && i > 0) changed = changed.subarray(0, i);
          else changed = Buffer.concat([changed.subarray(0, i), Buffer.from([byte]), changed.subarray(i)]);
        }
        try {
          await decodePack(changed);
        } catch (error) {
          expect(error).toMatchObject({ name: "VlinderError", code: "invalid" });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the writer of packs", () => {
  const noise = (i: number, size: number): StoredObject => {
    const bytes = Buffer.alloc(size, i % 251);
    bytes.writeUInt32LE(i, 0);
    return object("chunk", bytes);
  };

  async function write(count: number, size: number, every: number): Promise<WrittenPack[]> {
    const writer = new PackWriter();
    const packs: (WrittenPack | null)[] = [];
    for (let i = 0; i < count; i++) {
      packs.push(await writer.add(noise(i, size)));
      if (i % every === every - 1) packs.push(await writer.boundary());
    }
    packs.push(await writer.finish());
    return packs.filter((pack) => pack !== null);
  }

  test("cuts at a boundary after 16 MiB, and keeps the order", async () => {
    const packs = await write(700, 64 << 10, 10);
    expect(packs.map(({ objects }) => objects.length)).toEqual([260, 260, 180]);
    const back = (await Promise.all(packs.map(({ bytes }) => decodePack(bytes)))).flat();
    expect(back.map(({ bytes }) => Buffer.from(bytes).readUInt32LE(0))).toEqual(
      Array.from({ length: 700 }, (_, i) => i),
    );
  });

  test("cuts a large commit in the middle, well under the limit", async () => {
    const packs = await write(1200, 64 << 10, 5000);
    for (const { objects } of packs) expect(objects.length * (64 << 10)).toBeLessThanOrEqual(PACK_CUT.hardRaw);
    expect(packs.length).toBe(3);
  });

  test("cuts by the number of records", async () => {
    const packs = await write(PACK_CUT.records + 10, 4, 2);
    expect(packs.map(({ objects }) => objects.length)).toEqual([PACK_CUT.records, 10]);
  });

  test("refuses an object that fits no pack", async () => {
    const writer = new PackWriter();
    await expect(writer.add(object("changes", Buffer.alloc(PACK_LIMITS.raw)))).rejects.toMatchObject({
      code: "too_large",
    });
    expect(await writer.finish()).toBeNull();
  });
});
