import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson, type Json, parseCanonicalJson } from "../src/index.ts";
import { parseJson } from "../src/parse-json.ts";

describe("parseJson", () => {
  test("reads names with escapes right where V8 is wrong", () => {
    // The first document teaches V8 a name that is one backslash; the second one's name is a quote.
    JSON.parse('{"!":0,"\\\\":1}');
    const text = '{"!":0,"\\"":1}';
    expect(parseJson(text)).toEqual({ "!": 0, '"': 1 });
    expect(parseCanonicalJson(Buffer.from(text), "document")).toEqual({ "!": 0, '"': 1 });
  });

  test("reads every document that JSON.stringify writes, whatever was read before", () => {
    const names = fc.string({ maxLength: 3, unit: fc.constantFrom('"', "\\", "u", "0", "a", "\n", "é") });
    const { document } = fc.letrec<{ document: Json }>((tie) => ({
      document: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom<Json>(null, true, 0, -1.5e-7, "", 'a"b\\', "\n"),
        fc.array(tie("document"), { maxLength: 4 }),
        fc.dictionary(names, tie("document"), { maxKeys: 4, noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(document, fc.constantFrom(0, 2), (value, indent) => {
        expect(canonicalJson(parseJson(JSON.stringify(value, null, indent)) as Json)).toBe(canonicalJson(value));
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    '{"\\"":1',
    '{"\\"":1}}',
    '{"\\"" 1}',
    '{"\\"":}',
    '{"\\"":1,}',
    '{,"\\"":1}',
    '{"\\"":01}',
    '{"\\"":+1}',
    '{"\\"":nul}',
    '{"\\"":[1 2]}',
    '{"\\x":1}',
    '{"\\"":"\n"}',
    '{"\\"":1}x',
    '{1:"\\"","\\"":1}',
    `${"[".repeat(2000)}{"\\"":1}${"]".repeat(2000)}`,
  ])("refuses what is not JSON: %j", (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError);
  });
});
