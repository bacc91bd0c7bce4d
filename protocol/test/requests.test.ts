import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  adminRequests,
  agentRequests,
  asVlinderError,
  checkRequest,
  decodeBody,
  encodeBody,
  keyText,
  LIMITS,
  sha256,
  VlinderError,
} from "../src/index.ts";
import { rounds } from "../../test/harness/long.ts";

/** The error that a request gets. */
function refusal(operation: keyof typeof agentRequests, body: unknown): VlinderError {
  try {
    checkRequest(agentRequests[operation], body);
  } catch (error) {
    return asVlinderError(error);
  }
  throw new Error("it was accepted");
}

const put = { key: "/a", value: "x" };

describe("a request that is not right is refused in words that name the field", () => {
  test.each([
    ["kv.put", { ...put, vaule: "x" }, "invalid", 'unknown field "vaule"'],
    ["kv.put", { value: "x" }, "invalid", "key: key must be text"],
    ["kv.put", { key: "/a" }, "invalid", "value: a value is bytes, text"],
    ["kv.put", { ...put, upload: "u" }, "invalid", "value: a value is bytes, text"],
    ["value.put", { upload: "u", offset: -1, bytes: "x" }, "invalid", "offset"],
    ["value.put", { upload: "u", offset: 0 }, "invalid", "bytes: a value is bytes, text"],
    ["value.get", { key: "/a", length: LIMITS.valueBytes + 1 }, "invalid", "length"],
    ["kv.put", { ...put, key: "" }, "invalid", "key: a key must not be empty"],
    ["kv.put", { ...put, key: "a\0b" }, "invalid", "key: a key must not contain NUL"],
    ["kv.put", { ...put, key: "a".repeat(1025) }, "invalid", "longer than 1024"],
    ["kv.put", { ...put, expect: "abc" }, "invalid", "expect: a hash is 64"],
    ["kv.put", { ...put, branch: "a b" }, "invalid", "branch: not a branch name"],
    ["kv.put", { ...put, id: "x".repeat(129) }, "invalid", "id:"],
    ["kv.put", { ...put, value: { base64: "a" } }, "invalid", "value: a value is bytes"],
    ["kv.put", { ...put, value: { base64: "YQ==", more: 1 } }, "invalid", "value: a value is bytes"],
    ["kv.put", { ...put, value: 7 }, "invalid", "value: a value is bytes"],
    ["kv.put", { ...put, value: "x".repeat(LIMITS.valueBytes + 1) }, "too_large", "a value of 524289 bytes"],
    ["kv.get", { key: "/a", at: "x".repeat(161) }, "invalid", "at:"],
    ["kv.get", { key: "/a", id: "x" }, "invalid", 'unknown field "id"'],
    ["kv.list", { limit: 1001 }, "invalid", "limit:"],
    ["kv.list", { limit: 0 }, "invalid", "limit:"],
    ["kv.list", { limit: 1.5 }, "invalid", "limit:"],
    ["kv.batch", { ops: [] }, "invalid", "ops:"],
    ["kv.batch", { ops: "x" }, "invalid", "ops:"],
    ["kv.batch", { ops: [{ op: "get", key: "/a" }] }, "invalid", "ops.0.op"],
    [
      "kv.batch",
      {
        ops: [
          { op: "put", ...put },
          { op: "put", key: "/b" },
        ],
      },
      "invalid",
      "ops.1.value:",
    ],
    ["kv.batch", { ops: Array.from({ length: 1001 }, () => ({ op: "put", ...put })) }, "too_large", "1000 operations"],
    [
      "kv.pipeline",
      { ops: Array.from({ length: 1001 }, () => ({ op: "put", ...put })) },
      "too_large",
      "1000 operations",
    ],
    ["kv.pipeline", { ops: [{ op: "get", key: "/a", expect: null }] }, "invalid", 'ops.0: unknown field "expect"'],
    ["vector.put", { key: "/a", vector: [] }, "invalid", "vector: a vector of 0 components"],
    ["vector.put", { key: "/a", vector: [1, "2"] }, "invalid", "vector: a vector is an array of numbers"],
    ["vector.put", { key: "/a", vector: [1e39] }, "invalid", "vector: a vector's component is not a finite float32"],
    ["vector.put", { key: "/a", vector: new Uint8Array(5) }, "invalid", "vector: a vector's bytes are not whole"],
    ["vector.put", { key: "/a", vector: new Uint8Array(4 * 4097) }, "invalid", "vector: a vector of 4097"],
    ["vector.put", { key: "/a", vector: [1], metadata: [] }, "invalid", "metadata:"],
    ["vector.search", { vector: [1], filter: { a: {} } }, "invalid", "filter.a"],
    ["timeline.fork", { name: "-x" }, "invalid", "name: not a branch name"],
  ] as const)("%s %#", (operation, body, code, message) => {
    const error = refusal(operation, body);
    expect(error.message).toContain(message);
    expect(error.code).toBe(code);
    expect(error.remedy).toBeTruthy();
  });

  test("limits are in the details", () => {
    expect(refusal("kv.put", { ...put, value: new Uint8Array(LIMITS.valueBytes + 1) }).details).toMatchObject({
      limit: LIMITS.valueBytes,
      size: LIMITS.valueBytes + 1,
      path: "value",
    });
    const ops = Array.from({ length: 1001 }, () => ({}));
    expect(refusal("kv.batch", { ops }).details).toMatchObject({ limit: LIMITS.operations, path: "ops" });
  });
});

test("what is at the limit is accepted", () => {
  const body = { key: "k".repeat(1024), value: new Uint8Array(LIMITS.valueBytes), id: "x".repeat(128) };
  expect(checkRequest(agentRequests["kv.put"], body).value?.length).toBe(LIMITS.valueBytes);
  const vector = new Uint8Array(4 * LIMITS.dimension);
  expect(checkRequest(agentRequests["vector.put"], { key: "/a", vector }).vector.length).toBe(LIMITS.dimension);
});

test("JSON and MessagePack say the same", () => {
  const body = { key: "/ü", value: Buffer.from("Grüße"), expect: null, branch: "fix/1" };
  for (const encoding of ["json", "msgpack"] as const) {
    const checked = checkRequest(agentRequests["kv.put"], decodeBody(encodeBody(body, encoding)));
    expect(keyText(checked.key)).toBe("/ü");
    expect(checked.key.length).toBe(3);
    expect(sha256(checked.value ?? "")).toBe(sha256("Grüße"));
    expect(checked.expect).toBeNull();
  }
});

test("whatever a body holds, a request is accepted or refused with a code", () => {
  const schemas = [...Object.values(agentRequests), ...Object.values(adminRequests)];
  const names = ["key", "value", "ops", "op", "expect", "at", "branch", "vector", "metadata", "filter", "limit", "dir"];
  const member = fc.oneof(
    fc.constantFrom("put", "get", "delete", "/a", "main", sha256("x"), "\ud800", "a\0"),
    fc.anything({ withDate: true, withTypedArray: true, withNullPrototype: true, withSparseArray: true }),
    fc.array(fc.dictionary(fc.constantFrom(...names), fc.anything()), { maxLength: 3 }),
  );
  const bodies = fc.oneof(fc.anything(), fc.dictionary(fc.constantFrom(...names), member));
  const check = (schema: (typeof schemas)[number], body: unknown): void => {
    try {
      checkRequest(schema, body);
    } catch (error) {
      expect(error).toBeInstanceOf(VlinderError);
      expect((error as VlinderError).code).not.toBe("internal");
    }
  };
  fc.assert(fc.property(fc.constantFrom(...schemas), bodies, check), { numRuns: rounds(6000) });
});

test("a device that is meant by something else than its id is told where ids are shown", () => {
  for (const operation of ["vault.distrust", "sync.retire"] as const) {
    expect(() => checkRequest(adminRequests[operation], { device: "desk" })).toThrow(
      expect.objectContaining({ code: "invalid", remedy: expect.stringContaining("vlinder vault devices") as string }),
    );
    expect(checkRequest(adminRequests[operation], { device: "00ff" })).toMatchObject({ device: "00ff" });
  }
});
