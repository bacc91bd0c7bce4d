import { setTimeout as sleep } from "node:timers/promises";
import { AGENT_OPERATIONS, type AgentName, encodeBody, ERROR_CODES } from "@vlinder/protocol";
import fc from "fast-check";
import { nuid, type NatsConnection } from "nats";
import { beforeAll, expect, test } from "vitest";
import { HOSTILE_ADMIN_BODIES, HOSTILE_BODIES } from "./harness/hostile-bodies.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { type Answer, ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "victim" as AgentName;
let daemon: TestDaemon;
let wire: NatsConnection;
let admin: NatsConnection;

beforeAll(async () => {
  daemon = await stage.daemon();
  await stage.register(daemon, AGENT);
  await stage.register(daemon, "bystander");
  wire = await stage.wire(daemon, AGENT);
  admin = await stage.wire(daemon);
  await call("kv.put", { key: "/there", value: "1", id: "taken" });
  await call("vector.put", { key: "/v/there", vector: [1, 2, 3] });
});

/** What the server denies to agents is sent by the administrator: its bodies are to be refused as well. */
const DENIED: readonly string[] = ["timeline.gc", "timeline.forget", "effect.resolve", "run.override", "turn.replay"];

const call = (operation: string, body: object | Uint8Array): Promise<Answer> =>
  ask(DENIED.includes(operation) ? admin : wire, `vlinder.v1.${AGENT}.${operation}`, body);

/** All that an attack may not change: the branches of all agents. */
async function everything(): Promise<unknown> {
  const agents = await ask(admin, "vlinder.admin.v1.agents.list", {});
  const names = (agents.body["items"] as { agent: string }[]).map(({ agent }) => agent);
  const branches = names.map((name) => ask(admin, `vlinder.v1.${name}.timeline.branches`, {}));
  return [names, await Promise.all(branches)];
}

test.each(HOSTILE_BODIES)(
  "$operation with $what is refused, and changes nothing",
  async ({ operation, body, codes }) => {
    const before = await everything();
    const { error } = await call(operation, body);
    expect(codes).toContain(error?.code);
    expect(error?.message).not.toBe("");
    expect(await everything()).toEqual(before);
  },
);

test.each(HOSTILE_ADMIN_BODIES)(
  "$operation with $what is refused, and changes nothing",
  async ({ operation, body, codes }) => {
    const before = await everything();
    const { error } = await ask(admin, `vlinder.admin.v1.${operation}`, body);
    expect(codes).toContain(error?.code);
    expect(await everything()).toEqual(before);
  },
);

/** Publishes, and gives what arrives anywhere that the administrator can see. */
async function published(from: NatsConnection, subject: string, reply: string | null): Promise<string[]> {
  const heard: string[] = [];
  const ears = [">", "_INBOX.admin.>"].map((pattern) =>
    admin.subscribe(pattern === ">" ? "vlinder.>" : pattern, {
      callback: (_error, message) => void (message.subject === subject || heard.push(message.subject)),
    }),
  );
  await admin.flush();
  const body = JSON.stringify({ key: "/attack", value: "x", id: nuid.next() });
  from.publish(subject, body, reply === null ? {} : { reply });
  await from.flush();
  await sleep(40);
  await admin.flush();
  for (const ear of ears) ear.unsubscribe();
  return heard;
}

test.each([
  ["none", null],
  ["another agent's inbox", "_INBOX.bystander.x"],
  ["another agent's subject", "vlinder.v1.bystander.kv.put"],
  ["its own subject", `vlinder.v1.${AGENT}.kv.put`],
  ["an administrator's subject", "vlinder.admin.v1.daemon.drain"],
  ["its events", `vlinder.v1.${AGENT}.events.commit`],
  ["a wildcard", "_INBOX.victim.*"],
  ["everything", "_INBOX.victim.>"],
  ["the prefix without a dot", "_INBOX.victim"],
  ["a longer name", "_INBOX.victimx.y"],
  ["discovery", "$SRV.PING"],
])("a request whose reply subject is %s is not done and not answered", async (_what, reply) => {
  const before = await everything();
  expect(await published(wire, `vlinder.v1.${AGENT}.kv.put`, reply)).toEqual([]);
  expect(await everything()).toEqual(before);
});

test.each(["*", ">", "admin", "NoName", "a b", "-".repeat(65), "ä", "$SYS", "__proto__", "constructor", "nobody"])(
  "a subject whose agent is %j reaches nobody",
  async (name) => {
    const before = await everything();
    const subject = `vlinder.v1.${name}.kv.put`;
    const inbox = `_INBOX.admin.${nuid.next()}`;
    let heard: string[] = [];
    try {
      heard = await published(admin, subject, inbox);
    } catch {
      // The client itself does not send to a subject that is none.
    }
    // Either silence or, for what might be an agent's name, the error that there is none.
    if (/^(nobody|constructor)$/.test(name)) expect(heard).toEqual([inbox]);
    else expect(heard).toEqual([]);
    expect(await everything()).toEqual(before);
  },
);

const junk = fc.anything({ maxDepth: 3, withNullPrototype: false });
const fields = fc.constantFrom(
  "key",
  "value",
  "ops",
  "branch",
  "at",
  "expect",
  "id",
  "turn",
  "session",
  "prefix",
  "after",
  "limit",
  "vector",
  "metadata",
  "model",
  "filter",
  "ref",
  "from",
  "to",
  "name",
  "into",
  "progress",
  "upload",
  "begun",
  "effect",
  "result",
  "status",
  "offset",
  "bytes",
  "last",
  "op",
  "input",
  "output",
  "retries",
  "provider",
  "reason",
  "text",
  "form",
  "lost",
  "error",
  "before",
  "recorded",
  "method",
  "path",
  "headers",
  "body",
  "stream",
  "call",
  "received",
  "cancel",
  "run",
  "undo",
  "__proto__",
  "constructor",
);
/** Often of the right type, so that the fuzz gets behind the schemas. */
const plausible = fc.oneof(
  fc.constantFrom(
    "/there",
    "/v/there",
    "main",
    "nowhere",
    "put",
    "delete",
    "get",
    "",
    "0000",
    "f".repeat(64),
    null,
    true,
    0,
    1,
    1000,
  ),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.array(fc.double(), { maxLength: 4 }),
  fc.constant([1, 2, 3]),
  fc.array(
    fc.record({
      op: fc.constantFrom("put", "get", "delete"),
      key: fc.constantFrom("/there", "/f"),
      value: fc.string(),
    }),
    { maxLength: 3 },
  ),
  fc.dictionary(fc.string({ maxLength: 5 }), fc.oneof(fc.integer(), fc.string()), { maxKeys: 3 }),
  junk,
);
const objects = fc
  .array(fc.tuple(fields, plausible), { maxLength: 6 })
  .map((entries) => Object.fromEntries(entries) as object);

function encoded(value: object, encoding: "json" | "msgpack"): Uint8Array | null {
  try {
    return encodeBody(value, encoding);
  } catch {
    return null; // what has no form in that encoding can't be sent
  }
}

test("any object, to any operation: a coded answer, and an error changes nothing", async () => {
  // Fork and delete_branch would fill the branches with what the fuzz makes up.
  const operations = AGENT_OPERATIONS.filter(
    // A run waits for a process of the agent, and there is none.
    (operation) => !["vector.reindex", "run", "run.override"].includes(operation),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...operations),
      objects,
      fc.constantFrom("json" as const, "msgpack" as const),
      async (operation, object, encoding) => {
        const body = encoded(object, encoding);
        if (body === null) return;
        const before = await call("timeline.branches", {});
        const { error } = await call(operation, body);
        if (error === null) return;
        expect(ERROR_CODES.filter((code) => code !== "internal")).toContain(error.code);
        expect(await call("timeline.branches", {})).toEqual(before);
      },
    ),
    { numRuns: 300 },
  );
});

test("any bytes, and any request with some bytes changed", async () => {
  const requests = [
    encodeBody({ key: "/there", value: "x", expect: null }, "json"),
    encodeBody({ key: "/there", value: Buffer.from([0, 255]), expect: null }, "msgpack"),
  ];
  const changed = fc
    .tuple(fc.constantFrom(...requests), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }))
    .map(([request, changes]) => {
      const bytes = Buffer.from(request);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      return bytes;
    });
  const bodies = fc.oneof(changed, fc.uint8Array({ minLength: 1, maxLength: 200 }));
  await fc.assert(
    fc.asyncProperty(bodies, async (body) => {
      const { error } = await call("kv.put", body);
      if (error !== null) expect(ERROR_CODES.filter((code) => code !== "internal")).toContain(error.code);
    }),
    { numRuns: 400 },
  );
});

test("after all of it the daemon is the same process, had no fault of its own, and all is intact", async () => {
  const { body } = await ask(admin, "vlinder.admin.v1.daemon.status", {});
  expect(body).toMatchObject({ pid: daemon.pid });
  expect(daemon.logged(50)).toEqual([]);
  expect((await call("kv.put", { key: "/there", value: "1", id: "taken" })).error).toBeNull();
  for (const agent of [AGENT, "bystander"]) {
    expect((await ask(admin, `vlinder.v1.${agent}.timeline.verify`, {})).body).toMatchObject({ ok: true });
  }
});
