import { isUtf8 } from "node:buffer";
import { decode as lenient, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBody, encodeBody, encodingOf, LIMITS, VlinderError } from "../src/index.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
/** `{"k": <value>}` in MessagePack, the value as hex. */
const map = (value: string): Buffer => hex(`81 a1 6b ${value}`);
const json = (text: string): Buffer => Buffer.from(text);

const invalid = expect.objectContaining({ name: "VlinderError", code: "invalid" });

/** What travels: JSON with well-formed text, and bytes. */
const document = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: "binary" }),
    fc.maxSafeInteger(),
    // -0 travels as 0, in MessagePack as in JSON.
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (number === 0 ? 0 : number)),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 20 }),
    tie("object"),
  ),
  object: fc.dictionary(
    fc.string({ unit: "binary" }).filter((name) => name !== "__proto__"),
    tie("value"),
    { maxKeys: 20 },
  ),
}));

/** Bytes are views of the message; as plain arrays they can be compared. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]));
}

describe("round trips", () => {
  test("MessagePack keeps everything, bytes too", () => {
    fc.assert(
      fc.property(document.object, (body) => {
        expect(plain(decodeBody(encodeBody(body, "msgpack")))).toEqual(plain(body));
      }),
    );
  });

  test("JSON keeps everything that has a JSON form", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ noUnicodeString: false, maxDepth: 6 })), (body) => {
        fc.pre(!JSON.stringify(body).includes("__proto__"));
        expect(decodeBody(encodeBody(body, "json"))).toEqual(JSON.parse(JSON.stringify(body)));
      }),
    );
  });

  test("what another library writes is read alike", () => {
    fc.assert(
      fc.property(document.object, (body) => {
        const bytes = encode(body);
        expect(plain(decodeBody(bytes))).toEqual(plain(lenient(bytes)));
      }),
    );
  });

  test("every width of number, text, binary and list is read", () => {
    const numbers = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -32, -33, -128];
    const more = [-129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1, 0.5, -1e300];
    const body = {
      numbers: [...numbers, ...more],
      text: [0, 1, 31, 32, 255, 256, 65_535, 65_536].map((n) => "x".repeat(n)),
      bytes: [0, 255, 256, 65_536].map((n) => new Uint8Array(n)),
      lists: [15, 16, 65_536].map((n) => Array.from({ length: n }, () => null)),
      maps: Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`f${i}`, i])),
    };
    expect(plain(decodeBody(encode(body)))).toEqual(plain(body));
    // The library writes the shortest form; the others are MessagePack too.
    const wide = "9a cc01 cd0001 ce00000001 cf0000000000000001 d001 d10001 d200000001 d30000000000000001 ca3f800000 a0";
    expect(decodeBody(map(wide))).toEqual({ k: [1, 1, 1, 1, 1, 1, 1, 1, 1, ""] });
    expect(decodeBody(map("d9 01 61"))).toEqual({ k: "a" });
    expect(decodeBody(map("db 00000001 61"))).toEqual({ k: "a" });
    expect(decodeBody(hex("df 00000001 da 0001 6b c3"))).toEqual({ k: true });
  });

  test("names are read as they are, also when another with the same first and last letter was read before", () => {
    const names = [
      "state",
      "smate",
      "statee",
      "s",
      "e",
      "",
      "ü",
      "\u00c3\u00bc",
      "constructor",
      "sé",
      "sÃ©",
      "toString",
    ];
    const body = Object.fromEntries(names.map((name, i) => [name, i]));
    for (let i = 0; i < 3; i++) {
      expect(Object.entries(decodeBody(encode(body)))).toEqual(Object.entries(body));
      for (const name of names) expect(decodeBody(encode({ [name]: 1 }))).toEqual({ [name]: 1 });
    }
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "b", "ü", "é"), maxLength: 17 }), (name) => {
        expect(Object.keys(decodeBody(encode({ [name]: 1 })))).toEqual([name]);
      }),
      { numRuns: 2000 },
    );
  });

  test("a name that was read does not let bytes through that only look like it", () => {
    for (let a = 0x80; a <= 0xff; a++) {
      for (let b = 0x80; b <= 0xff; b += 3) {
        const name = String.fromCharCode(a, b);
        expect(decodeBody(encode({ [name]: 1 }))).toEqual({ [name]: 1 });
        if (isUtf8(Buffer.from([a, b]))) continue;
        expect(() => decodeBody(Buffer.from([0x81, 0xa2, a, b, 1]))).toThrow(invalid);
      }
    }
  });

  test("a vector is float32 bytes in MessagePack and an array in JSON", () => {
    const body = { vector: Float32Array.of(1, -0.5) };
    expect(encodeBody(body, "json").toString()).toBe('{"vector":[1,-0.5]}');
    expect(Buffer.from(decodeBody(encodeBody(body, "msgpack"))["vector"] as Uint8Array)).toEqual(
      hex("0000803f 000000bf"),
    );
  });

  test("bytes in JSON are text exactly when they are UTF-8, a byte order mark kept", () => {
    expect(encodeBody({ value: Buffer.from("ü") }, "json").toString()).toBe('{"value":"ü"}');
    expect(encodeBody({ value: hex("ef bb bf 61") }, "json")).toEqual(Buffer.from('{"value":"\ufeffa"}'));
    expect(encodeBody({ value: hex("ff 00") }, "json").toString()).toBe('{"value":{"base64":"/wA="}}');
    expect(encodeBody({ value: hex("ed a0 80") }, "json").toString()).toBe('{"value":{"base64":"7aCA"}}');
  });

  test("text that is not well-formed is not sent as other text", () => {
    for (const encoding of ["json", "msgpack"] as const) {
      expect(() => encodeBody({ a: ["\ud800"] }, encoding)).toThrow(invalid);
      expect(() => encodeBody({ "\udc00": 1 }, encoding)).toThrow(invalid);
    }
  });
});

describe("the first byte tells the encoding", () => {
  test.each([
    ['{"a":1}', "json"],
    [' \r\n\t{"a":1}', "json"],
  ])("%j is %s", (text, encoding) => expect(encodingOf(json(text))).toBe(encoding));

  test("a map is MessagePack, an empty body is an empty object", () => {
    expect(encodingOf(hex("80"))).toBe("msgpack");
    expect(decodeBody(new Uint8Array())).toEqual({});
  });
});

describe("refused as invalid", () => {
  test.each([
    ["text with a cut-off sequence", map("a1 c3")],
    ["text with an overlong sequence", map("a2 c0 80")],
    ["text with a surrogate in UTF-8", map("a3 ed a0 80")],
    ["text over the last code point", map("a4 f4 90 80 80")],
    ["long text with one bad byte", map(`d9 40 ${"61".repeat(63)} ff`)],
    ["a name that is not UTF-8", hex("81 a1 ff c0")],
    ["a name that is a number", hex("81 01 c0")],
    ["a name that is binary", hex("81 c4 01 6b c0")],
    ["a name that is nil", hex("81 c0 c0")],
    ["the same name twice", hex("82 a1 6b 01 a1 6b 02")],
    ["the name __proto__", hex("81 a9 5f5f70726f746f5f5f 80")],
    ["an extension", map("d4 01 00")],
    ["a timestamp", map("d6 ff 00000000")],
    ["the unused type", map("c1")],
    ["NaN", map("cb 7ff8000000000000")],
    ["an endless float", map("ca 7f800000")],
    ["an integer over 53 bits", map("cf 0020000000000000")],
    ["a negative integer over 53 bits", map("d3 8000000000000000")],
    ["bytes behind the end", hex("80 00")],
    ["no end", hex("81")],
    ["a list that claims 4 billion items", map("dd ffffffff")],
    ["a map that claims 4 billion fields", hex("df ffffffff")],
    ["text that claims 4 GB", map("db ffffffff 61")],
    ["binary that claims 4 GB", map("c6 ffffffff 61")],
    ["a list instead of a map", hex("90")],
    ["nil instead of a map", hex("c0")],
    ["a number instead of a map", hex("07")],
    ["binary instead of a map", hex("c4 00")],
    ["nesting", Buffer.concat([Buffer.alloc(100_000, hex("81 a1 6b")), hex("c0")])],
    ["nesting of lists", map("91".repeat(LIMITS.depth) + "c0")],
  ])("MessagePack: %s", (_what, body) => expect(() => decodeBody(body)).toThrow(invalid));

  test.each([
    ["a cut-off document", '{"a":'],
    ["something behind the end", '{"a":1} x'],
    ["a lone surrogate in text", '{"a":"\\ud800"}'],
    ["a lone surrogate in a list in a list", '{"a":[["\\udfff"]]}'],
    ["a lone surrogate in a name", '{"\\ud800":1}'],
    ["a number that is endless", '{"a":1e999}'],
    ["the name __proto__", '{"__proto__":{"x":1}}'],
    ["the name __proto__ further down", '{"a":[{"__proto__":1}]}'],
    ["NaN", '{"a":NaN}'],
    ["nesting", '{"a":'.repeat(200_000)],
    ["nesting that is closed", `{"a":${"[".repeat(5000)}${"]".repeat(5000)}}`],
  ])("JSON: %s", (_what, text) => expect(() => decodeBody(json(text))).toThrow(invalid));

  test("JSON: invalid UTF-8, and a byte order mark", () => {
    expect(() => decodeBody(Buffer.concat([json('{"a":"'), hex("ff"), json('"}')]))).toThrow(invalid);
    expect(() => decodeBody(Buffer.concat([hex("ef bb bf"), json("{}")]))).toThrow(invalid);
  });

  test("the deepest body that is allowed is allowed, in both", () => {
    let deep: unknown = 1;
    for (let i = 1; i < LIMITS.depth; i++) deep = [deep];
    for (const encoding of ["json", "msgpack"] as const) {
      expect(decodeBody(encodeBody({ deep }, encoding))).toEqual({ deep });
      expect(() => decodeBody(encodeBody({ deep: [deep] }, encoding))).toThrow(invalid);
    }
  });

  test("a declared length allocates nothing", () => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 1000; i++) expect(() => decodeBody(map("dd 7fffffff"))).toThrow(VlinderError);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 1024 * 1024);
  });

  test("of two equal names in JSON the last one counts", () => {
    expect(decodeBody(json('{"a":1,"a":2}'))).toEqual({ a: 2 });
  });

  test("whatever arrives is read or refused with a code", () => {
    const seeds = [map("93 01 a161 c403010203"), json('{"key":"/a","value":"x","expect":null}')];
    const mutated = fc
      .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { minLength: 1, maxLength: 5 }))
      .map(([seed, edits]) => {
        const bytes = Buffer.from(seed);
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
        return bytes;
      });
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      mutated,
      fc.string().map((text) => json(`{${text}`)),
    );
    const read = (bytes: Uint8Array): void => {
      try {
        decodeBody(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(VlinderError);
      }
    };
    fc.assert(fc.property(anything, read), { numRuns: 20_000 });
  });

  test("nothing that is decoded reaches Object.prototype", () => {
    const body = decodeBody(encode({ constructor: { prototype: { polluted: 1 } }, toString: "x" }));
    expect(Object.keys(body)).toEqual(["constructor", "toString"]);
    expect("polluted" in {}).toBe(false);
  });
});
