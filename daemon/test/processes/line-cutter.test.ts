import fc from "fast-check";
import { expect, test } from "vitest";
import { LineCutter } from "../../src/processes/line-cutter.ts";

function linesOf(bytes: Buffer, cuts: readonly number[] = []): string[] {
  const cutter = new LineCutter();
  const places = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((a, b) => a - b), bytes.length];
  const lines = places.slice(1).flatMap((end, i) => cutter.push(bytes.subarray(places[i], end)));
  return [...lines, ...cutter.end()];
}

test("lines end at newlines, the last one with the output", () => {
  expect(linesOf(Buffer.from("a\nb\r\n\nc"))).toEqual(["a", "b", "", "c"]);
  expect(linesOf(Buffer.from("a\n"))).toEqual(["a"]);
  expect(linesOf(Buffer.from(""))).toEqual([]);
});

test("what is no text is harmless", () => {
  expect(linesOf(Buffer.from([0, 0xff, 0x1b, 0x5b, 0x32, 0x4a, 0x9b, 9, 13, 65, 127]))).toEqual([
    "\\x00\ufffd\\x1b[2J\ufffd\t\\x0dA\\x7f",
  ]);
  expect(linesOf(Buffer.from("\u009b2J"))).toEqual(["\\x9b2J"]);
});

test("a long line is cut, between characters, and says by how much", () => {
  expect(linesOf(Buffer.from("x".repeat(8192)))).toEqual(["x".repeat(8192)]);
  expect(linesOf(Buffer.from(`${"x".repeat(8193)}\ny`))).toEqual([`${"x".repeat(8192)} … (1 bytes more)`, "y"]);
  expect(linesOf(Buffer.from(`${"x".repeat(8191)}€uro`))).toEqual([`${"x".repeat(8191)} … (5 bytes more)`]);
});

test("where the chunks were cut does not show", () => {
  const piece = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constantFrom("\n", "é€😀", "x".repeat(5000), "\r\n"));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.array(fc.nat(20_000), { maxLength: 12 }), (pieces, cuts) => {
      const bytes = Buffer.concat(pieces.map((one) => Buffer.from(one as string)));
      const lines = linesOf(bytes);
      expect(linesOf(bytes, cuts)).toEqual(lines);
      for (const line of lines) {
        expect(line).not.toMatch(/[^\P{Cc}\t]/u);
        expect(line.length).toBeLessThan(4 * 8192 + 40);
      }
    }),
  );
});
