import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBody, encodeBody, MsgpackWriter, VlinderError } from "../src/index.ts";

const edges = [0x1f, 0x20, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000];
const around = [...edges, 0xffffffff, 0x100000000, 0].flatMap((edge) => [edge, -edge, 1 - edge, -1 - edge]);
const numbers = fc.oneof(fc.double(), fc.maxSafeInteger(), fc.constantFrom(...around));
const texts = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc
    .tuple(fc.constantFrom("a", "ü", "日", "😀"), fc.constantFrom(1, 8, 15, 16, 31, 32, 85, 255, 256, 22_000))
    .map(([letter, times]) => letter.repeat(times)),
);
const lists = fc.constantFrom(14, 15, 16, 17, 70_000).map((n) => new Array<null>(n).fill(null));
const { anything } = fc.letrec((tie) => ({
  anything: fc.oneof(
    { maxDepth: 4 },
    numbers,
    texts,
    fc.boolean(),
    fc.constantFrom(null, undefined),
    fc.uint8Array({ maxLength: 300 }),
    fc.constantFrom(255, 256, 65_535, 65_536).map((n) => new Uint8Array(n).fill(n)),
    lists,
    fc.array(tie("anything"), { maxLength: 20 }),
    fc.dictionary(texts, tie("anything"), { maxKeys: 20 }),
  ),
}));

describe("MessagePack is written", () => {
  test("byte for byte as another library writes it", () => {
    fc.assert(
      fc.property(fc.dictionary(texts, anything), (body) => {
        const expected = encode(body, { ignoreUndefined: true });
        expect(Buffer.compare(encodeBody(body, "msgpack"), expected)).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  test("every number in its shortest form", () => {
    for (const numbers of around)
      expect(Buffer.compare(encodeBody({ numbers }, "msgpack"), encode({ numbers }))).toBe(0);
  });

  test("with bytes of its own: the next document does not change it", () => {
    const first = encodeBody({ a: "first" }, "msgpack");
    encodeBody({ b: "other" }, "msgpack");
    expect(decodeBody(first)).toEqual({ a: "first" });
  });

  test("whole, however large it is and whatever was thrown before it", () => {
    const large = {
      values: Array.from({ length: 40 }, (_, i) => new Uint8Array(70_000).fill(i)),
      end: "ü".repeat(9e5),
    };
    expect(() => encodeBody({ ...large, bad: "\ud800" }, "msgpack")).toThrow(VlinderError);
    expect(Buffer.compare(encodeBody(large, "msgpack"), encode(large))).toBe(0);
    expect(Buffer.compare(encodeBody({ small: 1 }, "msgpack"), encode({ small: 1 }))).toBe(0);
  });

  test("in parts, as it is written at once", () => {
    const writer = new MsgpackWriter();
    writer.begin();
    writer.map(2);
    writer.text("list");
    writer.array(2);
    writer.raw(encode({ inner: true }));
    writer.value(-1);
    writer.text("bytes");
    writer.binary(Buffer.from("x"));
    expect(decodeBody(writer.take())).toEqual({ list: [{ inner: true }, -1], bytes: Buffer.from("x") });
  });

  test("not at all, where something has no form", () => {
    expect(() => encodeBody({ a: () => 1 }, "msgpack")).toThrow(TypeError);
    expect(() => encodeBody({ a: 1n }, "msgpack")).toThrow(TypeError);
  });
});
