import { agentRequests, checkRequest, decodeBody, encodeBody, LIMITS, sha256, VlinderError } from "@vlinder/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import { newId } from "../src/new-id.ts";
import { alone, type Fields, type Operation, operation, together } from "../src/operation.ts";

const sometimes = <T>(...values: T[]): fc.Arbitrary<T | undefined> => fc.constantFrom(undefined, undefined, ...values);
const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("/a", "/ü", "k".repeat(1024)) },
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom("", "a\0", "\t\x7f", "k".repeat(1025), "ü".repeat(512), "ü".repeat(513), "\ud800", 7, null),
) as fc.Arbitrary<string>;
const value = fc.oneof(
  { weight: 20, arbitrary: fc.uint8Array() },
  { weight: 20, arbitrary: fc.string({ unit: "binary" }) },
  { weight: 5, arbitrary: fc.constantFrom("\ud800", 7, undefined) },
) as fc.Arbitrary<string | Uint8Array>;
const asked = fc.record({
  key,
  value,
  expect: sometimes<unknown>(null, sha256("x"), sha256("x").toUpperCase(), "", 7) as fc.Arbitrary<
    string | null | undefined
  >,
  branch: sometimes("main", "fix/1", "a b"),
  at: sometimes("abcd", "main", sha256("x")),
  id: sometimes("i-1", "", "i".repeat(129)),
});

/** The fields that an operation has, without those that are not there. */
function fieldsOf(op: Operation["op"], { key, value, expect, branch, at, id }: Fields): object {
  const where = op === "get" ? { branch, at } : { branch, expect, id, ...(op === "put" ? { value } : {}) };
  return Object.fromEntries(Object.entries({ key, ...where }).filter(([, field]) => field !== undefined));
}

/** What becomes of it: the error's code and message, or what was made. */
function outcome<T>(work: () => T): { made: T } | { code: string; message: string } {
  try {
    return { made: work() };
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    return { code: error.code, message: error.message };
  }
}

test("an operation is taken, or refused in the same words, exactly as its schema does it", () => {
  fc.assert(
    fc.property(fc.constantFrom("put", "get", "delete"), asked, (op, all) => {
      const fields = fieldsOf(op, all) as Fields;
      const encoded = outcome(() => operation(op, fields));
      if (op === "put" && !("made" in encoded) && !encoded.message.includes(":")) {
        // Said before the schema is asked: the value is neither well-formed text nor bytes.
        expect(outcome(() => checkRequest(agentRequests["kv.put"], fields))).toMatchObject({ code: "invalid" });
        return;
      }
      const whole =
        op === "put" && typeof all.value === "string" ? { ...fields, value: Buffer.from(all.value) } : fields;
      const expected = outcome(() => checkRequest(agentRequests[`kv.${op}`], whole));
      if ("made" in expected !== "made" in encoded || !("made" in encoded)) expect(encoded).toEqual(expected);
      else expect(Buffer.compare(encodeBody(decodeBody(alone(encoded.made)), "msgpack"), alone(encoded.made))).toBe(0);
    }),
    { numRuns: 1000 },
  );
});

test("a value at the limit is taken, a longer one refused", () => {
  expect(operation("put", { key: "/a", value: new Uint8Array(LIMITS.valueBytes) }).fields).toBe(2);
  const longer = { key: "/a", value: new Uint8Array(LIMITS.valueBytes + 1) };
  expect(() => operation("put", longer)).toThrow(expect.objectContaining({ code: "too_large" }));
});

test("alone and together it says what was asked", () => {
  const at = sha256("x");
  const puts = operation("put", { key: "/ü", value: "Grüße", expect: null, branch: "fix", id: "1" });
  const gets = operation("get", { key: "/b", at });
  const deletes = operation("delete", { key: "/c", expect: at });
  const bytes = Buffer.from("Grüße");
  expect(decodeBody(alone(puts))).toEqual({ key: "/ü", value: bytes, expect: null, branch: "fix", id: "1" });
  expect(decodeBody(alone(gets))).toEqual({ key: "/b", at });
  expect(decodeBody(alone(deletes))).toEqual({ key: "/c", expect: at });
  expect(decodeBody(together([puts, gets, deletes]))).toEqual({
    ops: [
      { op: "put", key: "/ü", value: bytes, expect: null, branch: "fix", id: "1" },
      { op: "get", key: "/b", at },
      { op: "delete", key: "/c", expect: at },
    ],
  });
  const many = together(Array.from({ length: 1000 }, () => gets));
  expect((decodeBody(many)["ops"] as unknown[]).length).toBe(1000);
});

test("an operation keeps the bytes that it was asked with", () => {
  const value = Buffer.from("before");
  const put = operation("put", { key: "/a", value });
  value.fill(0);
  operation("put", { key: "/b", value: "other" });
  expect(decodeBody(alone(put))).toEqual({ key: "/a", value: Buffer.from("before") });
});

test("no two ids are the same", () => {
  const ids = Array.from({ length: 10_000 }, newId);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.every((id) => id.length <= 40)).toBe(true);
});
