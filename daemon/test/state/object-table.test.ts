import { type Hash, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { ObjectTable } from "../../src/state/verify/object-table.ts";

test("numbers hashes in the order in which they come, and finds them while it grows", () => {
  const table = new ObjectTable(10);
  const hashes = Array.from({ length: 20_000 }, (_, i) => sha256(String(i)));
  for (const [i, hash] of hashes.entries()) {
    expect(table.find(hash)).toBe(-1);
    expect(table.add(hash)).toBe(i);
    if (i % 3 === 0) table.setFlags(i, 5);
    expect(table.add(hash)).toBe(i);
  }
  expect(table.size).toBe(hashes.length);
  for (const [i, hash] of hashes.entries()) {
    expect(table.find(hash)).toBe(i);
    expect(table.flags(i)).toBe(i % 3 === 0 ? 5 : 0);
  }
  expect(table.find(sha256("another"))).toBe(-1);
});

test("tells apart hashes that differ in one digit", () => {
  const table = new ObjectTable();
  const alike = Array.from({ length: 32 * 15 }, (_, i) => {
    const digit = (1 + Math.floor(i / 32)).toString(16);
    return `${"0".repeat(i % 32)}${digit}`.padEnd(64, "0") as Hash;
  });
  for (const hash of alike) table.add(hash);
  expect(table.size).toBe(alike.length);
});
