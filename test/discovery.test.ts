import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@vlinder/agent-runtime";
import {
  ADMIN_OPERATIONS,
  AGENT_OPERATIONS,
  type AgentName,
  type CommitEventMessage,
  decodeBody,
  PROGRESS_HEADER,
  type Progress,
} from "@vlinder/protocol";
import type { NatsConnection } from "nats";
import { beforeAll, expect, test } from "vitest";
import { until } from "./harness/processes.ts";
import { headOf } from "./harness/reading.ts";
import { BOTH_STORAGES, newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "watched" as AgentName;
let daemon: TestDaemon;
let admin: Client;
let wire: NatsConnection;

beforeAll(async () => {
  daemon = await stage.daemon();
  admin = await stage.admin(daemon);
  wire = await stage.wire(daemon);
  await stage.register(daemon, "counted");
});

async function discover(verb: string): Promise<Record<string, unknown>> {
  return (await wire.request(verb, "", { timeout: 5_000 })).json();
}

test("the services API finds the daemon, its endpoints and their numbers", async () => {
  const { version } = await admin.admin("daemon.status");
  expect(await discover("$SRV.PING")).toMatchObject({
    name: "vlinder",
    version,
    type: "io.nats.micro.v1.ping_response",
  });
  const info = await discover("$SRV.INFO.vlinder");
  const subjects = (info["endpoints"] as { subject: string }[]).map(({ subject }) => subject);
  expect(subjects.toSorted()).toEqual(
    [
      ...AGENT_OPERATIONS.map((operation) => `vlinder.v1.*.${operation}`),
      ...ADMIN_OPERATIONS.map((operation) => `vlinder.admin.v1.${operation}`),
    ].toSorted(),
  );
  const numbers = async () => {
    const { endpoints } = (await discover("$SRV.STATS")) as { endpoints: { subject: string; data: unknown }[] };
    return endpoints.find(({ subject }) => subject === "vlinder.v1.*.kv.get")?.data as {
      requests: number;
      errors: number;
    };
  };
  const before = await numbers();
  await ask(wire, "vlinder.v1.counted.kv.get", { key: "/nothing" });
  expect(await numbers()).toMatchObject({ requests: before.requests + 1, errors: before.errors + 1 });
});

test("an event comes for every durable move, from the agent's first one on", async () => {
  const events: CommitEventMessage[] = [];
  wire.subscribe(`vlinder.v1.${AGENT}.events.commit`, {
    callback: (_error, message) => void events.push(decodeBody(message.data) as unknown as CommitEventMessage),
  });
  await wire.flush();
  /** The moves of a branch up to this commit: each goes on from where the one before ended. */
  const reached = async (branch: string, state: string | null): Promise<void> => {
    const moves = () => events.filter((event) => event.branch === branch);
    await until(`an event of ${branch} at ${state}`, () => moves().at(-1)?.state === state);
    moves().forEach(({ from }, i) => expect(from).toBe(i === 0 ? moves()[0]?.from : moves()[i - 1]?.state));
  };

  const dir = await stage.agentFolder(AGENT, 'object_storage = "sqlite://objects.db"\n');
  const { state } = await admin.admin("agents.register", { dir });
  await reached("main", state);
  expect(events[0]).toMatchObject({ agent: AGENT, branch: "main", from: null });

  const sdk = await stage.sdk(daemon, AGENT);
  const puts = await Promise.all(Array.from({ length: 100 }, (_, i) => sdk.kv.put(`/${i}`, "x")));
  await reached("main", await headOf(admin, AGENT));
  expect(puts.map((put) => put.state)).toContain(events.at(-1)?.state);

  const fork = await admin.request(AGENT, "timeline.fork", { name: "side" });
  await reached("side", fork.state);
  const side = await sdk.branch("side").kv.put("/side", "x");
  await reached("side", side.state);
  const merged = await admin.request(AGENT, "timeline.merge", { from: "side" });
  await reached("main", merged.state);
  await admin.request(AGENT, "timeline.delete_branch", { branch: "side" });
  await reached("side", null);
  const rewound = await admin.request(AGENT, "timeline.rewind", { to: state });
  await reached("main", rewound.state);

  // What changes nothing moves nothing.
  const count = events.length;
  await sdk.kv.delete("/nothing");
  await sdk.kv.put("/0", "x", { expect: "0".repeat(64) }).catch(() => null);
  expect(await admin.admin("agents.register", { dir })).toMatchObject({ result: "unchanged" });
  await sleep(100);
  expect(events.length).toBe(count);

  // An edit that opens the agent anew is a move as well.
  await writeFile(`${dir}/agent.toml`, `name = "${AGENT}"\n${BOTH_STORAGES}`);
  await reached("main", (await admin.admin("agents.register", { dir })).state);
});

test("progress comes before the reply, and only when it is asked for", async () => {
  const sdk = await stage.sdk(daemon, "counted");
  await Promise.all(Array.from({ length: 400 }, (_, i) => sdk.kv.put(`/progress/${i}`, `${i}`)));
  const seen: Progress[] = [];
  const report = await admin.request(
    sdk.agent,
    "timeline.verify",
    {},
    { onProgress: (progress) => seen.push(progress) },
  );
  expect(report.ok).toBe(true);
  expect(seen.length).toBeGreaterThan(0);
  expect(seen.at(-1)).toMatchObject({ what: "verify", unit: "objects", total: expect.any(Number) });
  for (const { done, total } of seen) expect(done).toBeLessThanOrEqual(total ?? Infinity);
  expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).toSorted((a, b) => a - b));

  for (const wanted of [true, false]) {
    const order: boolean[] = [];
    const inbox = `_INBOX.admin.progress-${wanted}`;
    const replies = wire.subscribe(inbox, {
      callback: (_error, message) => void order.push(message.headers?.has(PROGRESS_HEADER) ?? false),
    });
    wire.publish(`vlinder.v1.${sdk.agent}.timeline.verify`, JSON.stringify(wanted ? { progress: true } : {}), {
      reply: inbox,
    });
    await until("the reply", () => order.includes(false));
    await wire.flush();
    expect(order.indexOf(false), "the reply is the last").toBe(order.length - 1);
    expect(order.length > 1).toBe(wanted);
    replies.unsubscribe();
  }
});

test("what the administrator asks is answered in the shape that the protocol has", async () => {
  const status = await admin.admin("daemon.status");
  expect(status).toEqual({
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    pid: daemon.pid,
    home: daemon.home,
    nats: { url: daemon.url, own: true, version: expect.stringMatching(/^\d+\.\d+/) },
    uptime: expect.any(Number),
    memory: expect.any(Number),
    agents: expect.any(Array),
    sync: {
      bucket: null,
      vault: null,
      device: expect.stringMatching(/^[0-9a-f]{32}$/),
      devices: expect.any(Array),
      agents: [],
      drill: null,
      metrics: {
        pushes: { done: 0, failed: { retry: 0, person: 0 }, bytes: 0, last: null },
        pulls: { done: 0, failed: { retry: 0, person: 0 }, bytes: 0, last: null },
        probes: { asked: 0, unchanged: 0 },
      },
    },
  });
  const { items } = await admin.admin("agents.list");
  expect(items).toEqual(status.agents);
  expect(items[0]?.agent).toBe("counted");
  const shown = await admin.admin("agents.show", { agent: "counted" });
  expect(shown).toMatchObject(items[0] as object);
  expect(shown).toMatchObject({
    branches: 1,
    creds: daemon.agentCreds("counted"),
    storage: { objects: "sqlite://objects.db", vectors: "sqlite://vectors.db" },
    manifest: expect.stringContaining(`name = "counted"`),
  });
  await daemon.configure('[log]\nlevel = "warn"\n');
  expect(await admin.admin("daemon.reload")).toEqual({ reloaded: ["log.level"] });
  expect(await admin.admin("daemon.reload")).toEqual({ reloaded: [] });
  await daemon.configure("[nonsense]\n");
  await expect(admin.admin("daemon.reload")).rejects.toMatchObject({ code: "invalid" });
});
