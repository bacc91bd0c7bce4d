import canonicalize from "canonicalize";
import fc from "fast-check";
import { expect, test } from "vitest";
import { canonicalJson, type Json, parseCanonicalJson, VlinderError } from "../src/index.ts";

const anyJson = fc.jsonValue({ noUnicodeString: false, maxDepth: 5 }) as fc.Arbitrary<Json>;

test("canonical JSON is what the reference implementation of RFC 8785 writes", () => {
  fc.assert(
    fc.property(anyJson, (value) => {
      expect(canonicalJson(value)).toBe(canonicalize(value));
    }),
    { numRuns: 2000 },
  );
});

test("the example of RFC 8785", () => {
  const value = {
    numbers: [Number("333333333.33333329"), 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
    string: "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"/",
    literals: [null, true, false],
  };
  expect(canonicalJson(value)).toBe(
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
      '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

test("members are in the order of UTF-16 units", () => {
  const value = { "\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\u0080": 6, "\u00f6": 7 };
  expect(canonicalJson(value)).toBe('{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}');
});

test("only the canonical spelling of a document is read", () => {
  const bytes = (text: string): Buffer => Buffer.from(text);
  fc.assert(
    fc.property(anyJson, (value) => {
      const text = canonicalJson(value);
      expect(canonicalJson(parseCanonicalJson(bytes(text), "test"))).toBe(text);
    }),
  );
  const spellings = [
    '{"b":1,"a":2}',
    '{"a": 1}',
    '{"a":1.0}',
    '{"a":"\\u0041"}',
    '{"a":1,"a":1}',
    "\ufeff{}",
    "-0",
    "{}\n",
  ];
  for (const text of [...spellings, '{"a":1e999}', '{"a":"\\ud800"}', "[".repeat(65) + "]".repeat(65), "["]) {
    expect(() => parseCanonicalJson(bytes(text), "test"), text).toThrow(VlinderError);
  }
  expect(() => parseCanonicalJson(Buffer.from([0x22, 0xff, 0x22]), "test")).toThrow(VlinderError);
});

test("what has no JSON form is refused", () => {
  const deep = JSON.parse("[".repeat(100_000) + "]".repeat(100_000)) as Json;
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, undefined, 1n, "\ud800", { "\udc00": 1 }, deep]) {
    expect(() => canonicalJson(value as Json)).toThrow(VlinderError);
  }
});
