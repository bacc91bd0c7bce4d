import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { agentRequests, checkAgentRequest, checkRequest, LIMITS, sha256, VlinderError } from "../src/index.ts";
import { AGENT_OPERATIONS, type AgentOperation } from "../src/subjects.ts";
import { isUsual } from "../src/schemas/usual.ts";
import { rounds } from "../../test/harness/long.ts";

const bytes = new Uint8Array([1, 2]);
const put = { key: "/a", value: bytes };

const USUAL: readonly (readonly [AgentOperation, object])[] = [
  ["kv.put", put],
  ["kv.put", { ...put, expect: null, branch: "fix/1", turn: "t-1", session: "s-1", id: "1" }],
  ["kv.put", { ...put, expect: sha256("x"), key: "\x01 \x7f" }],
  ["kv.put", { ...put, key: "k".repeat(LIMITS.keyBytes), value: new Uint8Array(LIMITS.valueBytes) }],
  ["kv.get", { key: "/a" }],
  ["kv.get", { key: "/a", branch: "main", turn: "t-1" }],
  ["kv.delete", { key: "/a", expect: null, id: "i".repeat(LIMITS.idChars) }],
  [
    "kv.pipeline",
    {
      ops: [
        { op: "put", ...put },
        { op: "get", key: "/a" },
        { op: "delete", key: "/b", id: "1" },
      ],
    },
  ],
  ["turn.begin", {}],
  ["turn.begin", { branch: "main", session: "s", input: bytes, retries: "t-1", id: "1" }],
  ["turn.complete", { turn: "t-1" }],
  ["turn.complete", { turn: "t-1", output: bytes, id: "1" }],
];

/** What is right in a way that the schema is to see to, or wrong. */
const OTHER: readonly (readonly [AgentOperation, unknown])[] = [
  ["kv.put", null],
  ["kv.put", "x"],
  ["kv.put", []],
  ["kv.put", { key: "/a" }],
  ["kv.put", { value: bytes }],
  ["kv.put", { ...put, upload: "u" }],
  ["kv.put", { key: "/a", upload: "u" }],
  ["kv.put", { ...put, value: "text" }],
  ["kv.put", { ...put, value: new Uint8Array(LIMITS.valueBytes + 1) }],
  ["kv.put", { ...put, key: "/ü" }],
  ["kv.put", { ...put, key: "" }],
  ["kv.put", { ...put, key: "a\0" }],
  ["kv.put", { ...put, key: "k".repeat(LIMITS.keyBytes + 1) }],
  ["kv.put", { ...put, key: 7 }],
  ["kv.put", { ...put, expect: sha256("x").toUpperCase() }],
  ["kv.put", { ...put, branch: sha256("x") }],
  ["kv.put", { ...put, branch: "a b" }],
  ["kv.put", { ...put, id: "" }],
  ["kv.put", { ...put, turn: "t".repeat(LIMITS.idChars + 1) }],
  ["kv.put", { ...put, at: "main" }],
  ["kv.put", { ...put, op: "put" }],
  ["kv.put", { ...put, toString: bytes }],
  ["kv.put", { ...put, constructor: bytes }],
  ["kv.get", { key: "/a", id: "1" }],
  ["kv.get", { key: "/a", at: "main" }],
  ["kv.delete", { expect: null }],
  ["kv.delete", put],
  ["kv.pipeline", {}],
  ["kv.pipeline", { ops: [] }],
  ["kv.pipeline", { ops: new Array(3) }],
  ["kv.pipeline", { ops: "put" }],
  ["kv.pipeline", { ops: [put] }],
  ["kv.pipeline", { ops: [{ op: "put", ...put }, null] }],
  ["kv.pipeline", { ops: [{ op: "history", key: "/a" }] }],
  ["kv.pipeline", { ops: [{ op: "get", key: "/a" }], more: 1 }],
  ["kv.pipeline", { ops: new Array(LIMITS.operations + 1).fill({ op: "get", key: "/a" }) }],
  ["turn.begin", []],
  ["turn.begin", { limit: 5 }],
  ["turn.begin", { provider: "mine" }],
  ["turn.complete", {}],
  ["turn.complete", { turn: "t-1", reason: "x" }],
];

describe("requests as nearly all are", () => {
  test.each(USUAL)("%s %# is told without its schema, which says the same", (operation, body) => {
    expect(isUsual(operation, body)).toBe(true);
    expect(checkAgentRequest(operation, body)).toBe(body);
    expect(checkRequest(agentRequests[operation], body)).toEqual(body);
  });

  test.each(OTHER)("%s %# is for the schema to judge", (operation, body) => {
    expect(isUsual(operation, body)).toBe(false);
  });

  test("only fields that are encoded count: what an object inherits is for the schema to judge", () => {
    class Operation {
      readonly op = "put";
      readonly value = bytes;
      get key(): number {
        return 7;
      }
    }
    expect(isUsual("kv.put", new Operation())).toBe(false);
    expect(isUsual("kv.pipeline", { ops: [new Operation()] })).toBe(false);
  });

  test("of an operation that is not among them nothing is", () => {
    const those = new Set(USUAL.map(([operation]) => operation));
    for (const operation of AGENT_OPERATIONS) {
      const body = { key: "/a", value: bytes, turn: "t-1" };
      if (!those.has(operation)) expect(isUsual(operation, body), operation).toBe(false);
    }
  });

  test("whatever a body holds, the outcome is the schema's", () => {
    const operations = [...new Set(USUAL.map(([operation]) => operation))];
    const names = [
      "key",
      "value",
      "expect",
      "branch",
      "turn",
      "session",
      "id",
      "at",
      "upload",
      "input",
      "output",
      "ops",
    ];
    const member = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom<unknown>("/a", "main", sha256("x"), null, bytes, "fix/1", "1") },
      {
        weight: 1,
        arbitrary: fc.constantFrom<unknown>(undefined, "", "a\0", "/ü", "\ud800", 7, {}, [], "x".repeat(129)),
      },
      { weight: 1, arbitrary: fc.anything({ withTypedArray: true, withNullPrototype: true, withSparseArray: true }) },
    );
    const fields = fc.dictionary(fc.constantFrom(...names.slice(0, -1)), member, { maxKeys: 4 });
    const right = fc.constantFrom(...USUAL.map(([, body]) => body));
    const some = fc.tuple(right, fields).map(([body, more]) => ({ ...body, ...more }));
    const op = fc.tuple(fc.constantFrom("put", "get", "delete", "list"), fc.oneof(fields, some));
    const ops = fc.array(
      fc.oneof(
        op.map(([name, body]) => ({ op: name, key: "/a", ...body })),
        member,
      ),
      { maxLength: 3 },
    );
    const bodies = fc.oneof(
      fields,
      some,
      right,
      ops.map((all) => ({ ops: all })),
      fc.anything(),
    );
    let usual = 0;
    const runs = rounds(6000);
    fc.assert(
      fc.property(fc.constantFrom(...operations), bodies, (operation, body) => {
        if (isUsual(operation, body)) usual++;
        expect(outcome(() => checkAgentRequest(operation, body))).toEqual(
          outcome(() => checkRequest(agentRequests[operation], body)),
        );
      }),
      { numRuns: runs },
    );
    // Else it would have shown nothing.
    expect(usual).toBeGreaterThan(runs / 20);
  });
});

/** What was checked, or how it was refused; a field that is undefined is not there. */
function outcome(work: () => unknown): unknown {
  try {
    return { checked: without(work()) };
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    return error.toBody();
  }
}

function without(body: unknown): unknown {
  return Object.fromEntries(Object.entries(body as object).filter(([, value]) => value !== undefined));
}
