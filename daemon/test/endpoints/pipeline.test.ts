import { setImmediate as nextTurn } from "node:timers/promises";
import { type BranchName, type Hash, type Key, MAIN, sha256, VlinderError } from "@vlinder/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Perform, type PipelineOp, runPipeline } from "../../src/endpoints/pipeline.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);

/**
 * A state as the engine has it: a write is computed when it is handed over and seen when it is durable, which several
 * become together; a read is of what is durable when it is asked, at once or late.
 */
class Durable {
  readonly order: string[] = [];
  readonly #computed = new Map<string, string>();
  #seen = new Map<string, string>();
  #storing: Promise<void> | null = null;
  readonly #late: () => boolean;

  constructor(late: () => boolean) {
    this.#late = late;
  }

  readonly perform: Perform = (op) => {
    const { branch = MAIN, key } = op;
    const line = `${branch} ${key}`;
    if (op.op === "get") {
      const text = this.#seen.get(line);
      const found = { value: bytes(text ?? ""), hash: sha256(text ?? "none"), size: 0, state: "" as Hash };
      const answer = (): typeof found => {
        if (text === undefined) throw new VlinderError("not_found", line);
        return found;
      };
      return this.#late() ? nextTurn().then(answer) : answer();
    }
    if (op.op === "put" && op.expect === null && this.#computed.has(line)) {
      return this.#stored().then(() => Promise.reject(new VlinderError("conflict", line)));
    }
    const deleted = this.#computed.delete(line);
    if (op.op === "put") this.#computed.set(line, Buffer.from(op.value ?? "").toString());
    this.order.push(`${op.op} ${line}`);
    return this.#stored().then(() => ({ state: "" as Hash, deleted }));
  };

  #stored(): Promise<void> {
    this.#storing ??= nextTurn().then(() => {
      this.#storing = null;
      this.#seen = new Map(this.#computed);
    });
    return this.#storing;
  }
}

const operation: fc.Arbitrary<PipelineOp> = fc
  .record({
    op: fc.constantFrom("put", "get", "get", "delete"),
    key: fc.constantFrom("/a", "/b", "/c") as fc.Arbitrary<Key>,
    branch: fc.constantFrom(undefined, MAIN, "fix" as BranchName),
    value: fc.nat(99).map((n) => bytes(`${n}`)),
    expect: fc.constantFrom(undefined, undefined, null),
  })
  .map(({ op, value, expect: expected, ...rest }) => {
    if (op === "put") return { ...rest, op: "put", value, expect: expected };
    return { ...rest, op: op as "get" | "delete" };
  });

/** What doing them one after the other gives, and which writes are done. */
function oneByOne(ops: readonly PipelineOp[]): { results: unknown[]; order: string[] } {
  const state = new Map<string, string>();
  const order: string[] = [];
  const results = ops.map((op) => {
    const line = `${op.branch ?? MAIN} ${op.key}`;
    if (op.op === "get") return state.get(line) ?? "not_found";
    if (op.op === "put" && op.expect === null && state.has(line)) return "conflict";
    order.push(`${op.op} ${line}`);
    const deleted = state.delete(line);
    if (op.op === "put") state.set(line, Buffer.from(op.value ?? "").toString());
    return deleted;
  });
  return { results, order };
}

test("a list gives what its operations give one by one, whether reads come at once or late", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30 }), fc.infiniteStream(fc.boolean()), async (ops, late) => {
      const state = new Durable(() => late.next().value === true);
      const results = await runPipeline(ops, state.perform);
      const expected = oneByOne(ops);
      const shown = results.map((result) => {
        if ("error" in result) return result.error.code;
        return "value" in result.ok
          ? Buffer.from(result.ok.value).toString()
          : (result.ok as { deleted: boolean }).deleted;
      });
      expect(shown).toEqual(expected.results);
      const onBranch = (order: string[], branch: string) => order.filter((line) => line.includes(` ${branch} `));
      for (const branch of ["main", "fix"]) {
        expect(onBranch(state.order, branch)).toEqual(onBranch(expected.order, branch));
      }
    }),
    { numRuns: 500 },
  );
});

test("reads of what is in memory are answered at once", () => {
  const state = new Durable(() => false);
  const get = { op: "get", key: "/a" as Key } as const;
  expect(runPipeline([get, get], state.perform)).toMatchObject([
    { error: { code: "not_found" } },
    { error: { code: "not_found" } },
  ]);
});

test("writes are handed over at once, however many there are, and are stored together", async () => {
  const state = new Durable(() => false);
  const puts = Array.from({ length: 1000 }, (_, i) => ({
    op: "put" as const,
    key: `/${i}` as Key,
    value: bytes("x"),
  }));
  const running = runPipeline(puts, state.perform);
  expect(state.order).toHaveLength(1000);
  expect(await running).toHaveLength(1000);
});
