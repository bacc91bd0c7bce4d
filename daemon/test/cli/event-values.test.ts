import { sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { renderBlocks } from "../../src/cli/outcome.ts";
import { eventValueBlocks } from "../../src/cli/values/event-value-lines.ts";
import type { EventValue } from "../../src/cli/values/event-values.ts";
import { indentedJson } from "../../src/cli/values/indented-json.ts";

test.each([
  ['{"a":1,"b":[true,null]}', '{\n  "a": 1,\n  "b": [\n    true,\n    null\n  ]\n}'],
  [" { } ", "{}"],
  ["[[],{}]", "[\n  [],\n  {}\n]"],
  ['{"a" : [\n{"b":{}}]}', '{\n  "a": [\n    {\n      "b": {}\n    }\n  ]\n}'],
  // What is in a string is no structure, and what is written of a number stays.
  ['["{\\"[,:]}\\\\",1.50e+9,12345678901234567890]', '[\n  "{\\"[,:]}\\\\",\n  1.50e+9,\n  12345678901234567890\n]'],
  ['"one"', '"one"'],
  ["-0.10", "-0.10"],
])("%s with lines of its own for members and items", (text, indented) => {
  expect(indentedJson(text)).toBe(indented);
  expect(JSON.parse(indented)).toEqual(JSON.parse(text));
});

test("text that is no JSON is not indented, and depth does not make it grow without end", () => {
  for (const text of ["", "data: {}\n\n", '{"a":1}\n{"a":2}\n', "{'a':1}"]) expect(indentedJson(text)).toBeNull();
  const deep = `${"[".repeat(5_000)}${"]".repeat(5_000)}`;
  expect(indentedJson(deep)?.length).toBeLessThan(10_000 * 40);
});

function shown(value: Uint8Array | string | null, why?: string): string[] {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  const about = { hash: sha256(bytes ?? ""), size: bytes?.length ?? 5_000_000 };
  const one: EventValue = { ...about, value: bytes, ...(why === undefined ? {} : { why }) };
  return renderBlocks(eventValueBlocks(new Map([["response", one]])), false)
    .split("\n")
    .slice(1, -1);
}

test("people see JSON indented, other text as it is, and of the rest why not", () => {
  expect(shown('{"a":1}')).toEqual(["     {", '       "a": 1', "     }"]);
  expect(shown("data: 1\n\ndata: \u001b[2J\n")).toEqual(["     data: 1", "", "     data: \\x1b[2J"]);
  expect(shown("")).toEqual(["     empty"]);
  expect(shown(Buffer.from([0, 255]))).toEqual(["     not text; --json has it as base64"]);
  expect(shown(null, "too-large")).toEqual(["     left out: over 1.0 MB"]);
  expect(shown(null, "erased")).toEqual(["     left out: erased"]);
});

test("of a long value the beginning", () => {
  const lines = shown(Array.from({ length: 300 }, (_, i) => `line ${i}`).join("\n"));
  expect(lines).toHaveLength(201);
  expect(lines.slice(199)).toEqual(["     line 199", "     … 100 lines more; --json has all"]);
  expect(shown("x".repeat(1_000))).toEqual([`     ${"x".repeat(400)}… 600 more`]);
});
