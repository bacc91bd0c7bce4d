import fc from "fast-check";
import { expect, test } from "vitest";
import { agentRequests, isUsual, LIMITS } from "../src/index.ts";
import { rounds } from "../../test/harness/long.ts";

const OPERATIONS = ["kv.put", "kv.get", "kv.delete", "kv.pipeline", "kv.list", "turn.begin"] as const;

test("what is usual is taken by its schema, as it is", () => {
  const text = fc.constantFrom(
    "/a",
    "",
    "é",
    "a\0",
    "x".repeat(1024),
    "x".repeat(1025),
    "x".repeat(LIMITS.idChars + 1),
    "t-1",
  );
  const value = fc.constantFrom<unknown>(
    Buffer.from("v"),
    new Uint8Array(),
    "text",
    null,
    7,
    { base64: "" },
    new Uint8Array(LIMITS.valueBytes + 1),
  );
  const usual = { key: "/a", value: Buffer.from("v"), turn: "t-1", id: "i" };
  const fields = fc.record(
    {
      key: fc.oneof({ weight: 4, arbitrary: fc.constant("/a") }, text, value),
      value: fc.oneof({ weight: 4, arbitrary: fc.constant(usual.value) }, value),
      turn: fc.oneof(fc.constant("t-1"), text, value),
      id: fc.oneof(fc.constant("i"), text, value),
      op: fc.constantFrom<unknown>("put", "get", "delete", "list", null),
      branch: fc.constantFrom("main", "no branch"),
      session: text,
      expect: fc.constantFrom(null, "x", "a".repeat(64)),
      upload: text,
      at: text,
      other: fc.constant(1),
    },
    { requiredKeys: [] },
  );
  // Mostly as they should be, or nothing would ever be usual.
  const key = fc.oneof({ weight: 3, arbitrary: fc.constant("/a") }, text);
  const alone = fc.record(
    { key, value: fc.constant(usual.value), turn: fc.constant("t"), id: fc.constant("i") },
    { requiredKeys: ["key"] },
  );
  const put = fc.record(
    { op: fc.constant("put"), key, value: fc.constant(usual.value), id: text },
    { requiredKeys: ["op", "key", "value"] },
  );
  const other = fc.record({ op: fc.constantFrom("get", "delete"), key, id: text }, { requiredKeys: ["op", "key"] });
  const many = fc.record(
    { ops: fc.array(fc.oneof(put, other, put, other, fields, value), { maxLength: 3 }), other: fc.constant(1) },
    { requiredKeys: ["ops"] },
  );
  const body = fc.oneof(fields, alone, many);
  const met = new Set<string>();
  const property = fc.property(fc.constantFrom(...OPERATIONS), body, (operation, one) => {
    if (!isUsual(operation, one)) return;
    met.add(operation);
    const taken = agentRequests[operation].safeParse(one);
    expect(taken.success, JSON.stringify(one)).toBe(true);
    expect(taken.data).toEqual(one);
  });
  fc.assert(property, { numRuns: rounds(20_000) });
  expect([...met].sort()).toEqual(["kv.delete", "kv.get", "kv.pipeline", "kv.put"]);
});

test("what the SDK sends for small values is usual", () => {
  const value = Buffer.from("v");
  expect(isUsual("kv.put", { key: "/a", value, id: "1" })).toBe(true);
  expect(isUsual("kv.get", { key: "/a", turn: "t" })).toBe(true);
  const ops = [
    { op: "put", key: "/a", value, id: "1" },
    { op: "get", key: "/b" },
    { op: "delete", key: "/c", id: "2" },
  ];
  expect(isUsual("kv.pipeline", { ops })).toBe(true);
  expect(isUsual("kv.pipeline", { ops: Array.from({ length: LIMITS.operations + 1 }, () => ops[1]) })).toBe(false);
});
