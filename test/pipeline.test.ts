import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, ErrorBody, PipelineResult } from "@vlinder/protocol";
import type { NatsConnection } from "nats";
import { beforeAll, expect, test } from "vitest";
import { allCommits, headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "pipes" as AgentName;
let admin: Client;
let wire: NatsConnection;

beforeAll(async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, AGENT);
  admin = await stage.admin(daemon);
  wire = await stage.wire(daemon, AGENT);
});

interface Ok {
  readonly state: string;
  readonly hash?: string;
  readonly value?: unknown;
  readonly deleted?: boolean;
}
type Result = { readonly ok: Ok; readonly error?: never } | { readonly ok?: never; readonly error: ErrorBody };

/** A pipeline as JSON. */
async function run(...ops: object[]): Promise<Result[]> {
  const { body, error } = await ask(wire, `vlinder.v1.${AGENT}.kv.pipeline`, { ops });
  expect(error).toBeNull();
  return body["results"] as Result[];
}

const text = (value: string): Uint8Array => Buffer.from(value);

test("operations are done in the order of the list, each with a commit of its own", async () => {
  const before = await headOf(admin, AGENT);
  const results = await run(
    { op: "get", key: "/k" },
    { op: "put", key: "/k", value: "1" },
    { op: "get", key: "/k" },
    { op: "put", key: "/other", value: "x" },
    { op: "put", key: "/k", value: "2" },
    { op: "get", key: "/k" },
    { op: "delete", key: "/k" },
    { op: "delete", key: "/k" },
    { op: "get", key: "/k" },
    { op: "get", key: "/other" },
  );
  const values = results.map(({ ok, error }) => error?.code ?? ok?.value ?? ok?.deleted ?? "put");
  expect(values).toEqual(["not_found", "put", "1", "put", "put", "2", true, false, "not_found", "x"]);
  const commits = await allCommits(admin, AGENT);
  const made = commits
    .slice(
      0,
      commits.findIndex(({ hash }) => hash === before),
    )
    .toReversed();
  expect(made.map(({ hash }) => hash)).toEqual([1, 3, 4, 6].map((i) => results[i]?.ok?.state));
  // A read is of a state that has what was written before it in the list.
  expect(results[9]?.ok?.state).toBe(results[6]?.ok?.state);
});

test("a thousand operations on ten keys give what doing them one by one gives", async () => {
  const model = new Map<string, string>();
  const expected: unknown[] = [];
  const ops = Array.from({ length: 1000 }, (_, i) => {
    const key = `/model/${(i * 7) % 10}`;
    const kind = ["put", "get", "get", "delete", "put"][(i * 13) % 5];
    if (kind === "put") {
      model.set(key, `${i}`);
      expected.push("put");
      return { op: "put", key, value: `${i}` };
    }
    if (kind === "get") {
      expected.push(model.get(key) ?? "not_found");
      return { op: "get", key };
    }
    expected.push(model.delete(key));
    return { op: "delete", key };
  });
  const results = await run(...ops);
  expect(results.map(({ ok, error }) => error?.code ?? ok?.value ?? ok?.deleted ?? "put")).toEqual(expected);
});

test("an error is one operation's own", async () => {
  const results = await run(
    { op: "put", key: "/a", value: "a", expect: null },
    { op: "put", key: "/a", value: "again", expect: null },
    { op: "get", key: "/a", branch: "nowhere" },
    { op: "get", key: "/a", at: "00000000" },
    { op: "put", key: "/a", value: "x", branch: "nowhere" },
    { op: "put", key: "/a", value: "x", turn: "t-1" },
    { op: "put", key: "/a", value: "b" },
    { op: "get", key: "/a" },
  );
  expect(results.map(({ error }) => error?.code ?? null)).toEqual([
    null,
    "conflict",
    "not_found",
    "not_found",
    "not_found",
    "not_found",
    null,
    null,
  ]);
  expect(results.at(-1)?.ok?.value).toBe("b");
});

test("an operation that is not well-formed refuses the whole list, and nothing is done", async () => {
  const before = await headOf(admin, AGENT);
  const { error } = await ask(wire, `vlinder.v1.${AGENT}.kv.pipeline`, {
    ops: [
      { op: "put", key: "/never", value: "x" },
      { op: "put", key: "", value: "x" },
    ],
  });
  expect(error).toMatchObject({ code: "invalid", details: { path: "ops.1.key" } });
  expect(await headOf(admin, AGENT)).toBe(before);
});

test("every operation has its own id: the same again does nothing, with another body it is a conflict", async () => {
  const put = { op: "put", key: "/id", value: "1", id: "pipeline-1" };
  const [first, joined, other] = await run(put, put, { ...put, value: "2" });
  expect(joined).toEqual(first);
  expect(other?.error?.code).toBe("conflict");
  await run({ op: "put", key: "/id", value: "later" });
  // Also from another message, and as an operation by itself; the read sees what is there now.
  const [again, read] = await run(put, { op: "get", key: "/id" });
  expect(again).toEqual(first);
  expect(read?.ok?.value).toBe("later");
  const { body } = await ask(wire, `vlinder.v1.${AGENT}.kv.put`, { key: "/id", value: "1", id: "pipeline-1" });
  expect(body).toEqual(first?.ok);
});

test("what does not fit in the reply is too_large, each by itself, and the writes are done", async () => {
  const size = 400 * 1024;
  for (const key of ["/big/1", "/big/2", "/big/3"]) {
    await admin.request(AGENT, "kv.put", { key, value: Buffer.alloc(size, key) });
  }
  const gets = ["/big/1", "/big/2", "/big/3"].map((key) => ({ op: "get" as const, key }));
  const { results } = await admin.request(AGENT, "kv.pipeline", {
    ops: [...gets, { op: "put", key: "/small", value: text("x") }, { op: "get", key: "/small" }],
  });
  const codes = results.map((result) => ("error" in result ? result.error.code : null));
  expect(codes).toEqual([null, null, "too_large", null, null]);
});

test.each([
  ["bytes that JSON writes as base64", Buffer.alloc(380 * 1024, 0xff)],
  ["control characters that JSON writes as six", Buffer.alloc(100 * 1024, 1)],
])("a reply never outgrows a message: %s", async (_what, value) => {
  await admin.request(AGENT, "kv.put", { key: "/bin/1", value });
  await admin.request(AGENT, "kv.put", { key: "/bin/2", value });
  const results = await run(
    { op: "get", key: "/bin/1" },
    { op: "put", key: "/done", value: "x" },
    { op: "get", key: "/bin/2" },
  );
  expect(results.map(({ error }) => error?.code ?? null)).toEqual([null, null, "too_large"]);
});

test("a thousand errors that name long keys fit as well, each with its code", async () => {
  const key = (i: number): string => `/${String(i).padStart(4, "0")}/${"k".repeat(900)}`;
  const ops = Array.from({ length: 1000 }, (_, i) => ({ op: "get" as const, key: key(i) }));
  const results = await run(...ops);
  expect(new Set(results.map(({ error }) => error?.code))).toEqual(new Set(["not_found"]));
  const packed: readonly PipelineResult[] = (await admin.request(AGENT, "kv.pipeline", { ops })).results;
  expect(packed.every((result) => "error" in result && result.error.code === "not_found")).toBe(true);
});

test("a commit with a thousand long keys can be shown, and so can a merge of them", async () => {
  const key = (i: number): string => `/long/${String(i).padStart(4, "0")}/${"\u0001".repeat(900)}`;
  const change = (value: string, branch: string) =>
    admin.request(AGENT, "kv.batch", {
      branch,
      ops: Array.from({ length: 1000 }, (_, i) => ({ op: "put" as const, key: key(i), value: text(value) })),
    });
  const fork = await admin.request(AGENT, "timeline.fork", { name: "long" });
  const { state } = await change("main", "main");
  await change("side", "long");
  const { body, error } = await ask(wire, `vlinder.v1.${AGENT}.timeline.show`, { ref: state });
  expect(error).toBeNull();
  expect(body["changed"]).toBe(1000);
  expect((body["changes"] as unknown[]).length).toBeGreaterThan(100);
  const merged = await ask(wire, `vlinder.v1.${AGENT}.timeline.merge`, { from: "long" });
  expect(merged).toMatchObject({ error: null, body: { kind: "merge" } });
  expect((merged.body["conflicts"] as unknown[]).length).toBeGreaterThan(50);
  const diff = await ask(wire, `vlinder.v1.${AGENT}.timeline.diff`, { from: fork.state, to: state, limit: 1000 });
  expect(diff.error).toBeNull();
  expect(diff.body["next"]).not.toBeNull();
});
