import { execFileSync } from "node:child_process";
import { rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Client } from "@vlinder/agent-runtime";
import {
  type AgentName,
  decodeBody,
  type InvokeMessage,
  type SyncEventMessage,
  type SyncOwed,
  type SyncStatusReply,
} from "@vlinder/protocol";
import { beforeAll, describe, expect, test } from "vitest";
import { until } from "./harness/processes.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

// Two real daemons on one folder, and nobody who pushes or pulls by hand.

const stage = newStage();
const AGENT = "memory" as AgentName;
const STORAGE = 'object_storage = "sqlite://objects.db"\n';
const SYNC = '[sync]\nquiet = "100ms"\n';
/** Nothing that is written outside of turns is pushed in the time of a test. */
const LONG_QUIET = '[sync]\nquiet = "1h"\n';

class Machine {
  readonly daemon: TestDaemon;
  readonly admin: Client;
  readonly events: SyncEventMessage[] = [];

  private constructor(daemon: TestDaemon, admin: Client) {
    this.daemon = daemon;
    this.admin = admin;
  }

  static async start(folder: string, config = SYNC): Promise<Machine> {
    const daemon = await stage.daemon(config);
    const machine = new Machine(daemon, await stage.admin(daemon));
    await machine.listen();
    await machine.admin.admin("sync.init", { uri: `file://${folder}` });
    await stage.register(daemon, AGENT, STORAGE);
    return machine;
  }

  async listen(): Promise<void> {
    const wire = await stage.wire(this.daemon, "admin");
    wire.subscribe(`vlinder.v1.${AGENT}.events.sync`, {
      callback: (_error, { data }) => void this.events.push(decodeBody(data) as unknown as SyncEventMessage),
    });
    await wire.flush();
  }

  /** A turn that writes one key, as an agent of its own code does. @returns what the bucket lacks then */
  async turn(key: string, value: string): Promise<SyncOwed | undefined> {
    const { turn } = await this.admin.request(AGENT, "turn.begin", {});
    await this.admin.request(AGENT, "kv.put", { turn, key, value: Buffer.from(value) });
    return (await this.admin.request(AGENT, "turn.complete", { turn })).sync;
  }

  /** What a turn that begins now reads. */
  async readInTurn(key: string): Promise<string | null> {
    const { turn } = await this.admin.request(AGENT, "turn.begin", {});
    try {
      const { value } = await this.admin.request(AGENT, "kv.get", { turn, key });
      return Buffer.from(value).toString();
    } catch (error) {
      if ((error as { code?: string }).code === "not_found") return null;
      throw error;
    } finally {
      await this.admin.request(AGENT, "turn.complete", { turn });
    }
  }

  put(key: string, value: string): Promise<{ readonly sync?: SyncOwed }> {
    return this.admin.request(AGENT, "kv.put", { key, value: Buffer.from(value) });
  }

  status(): Promise<SyncStatusReply> {
    return this.admin.admin("sync.status");
  }

  async agent(): Promise<SyncStatusReply["agents"][number]> {
    const [item] = (await this.status()).agents;
    if (item === undefined) throw new Error("no agent is here");
    return item;
  }

  async pushed(): Promise<void> {
    await until("all is pushed", async () => (await this.agent()).owed.commits === 0);
  }
}

let folder: string;
let home: Machine;
let work: Machine;

beforeAll(async () => {
  folder = await stage.path("bucket");
  [home, work] = await Promise.all([Machine.start(folder), Machine.start(folder)]);
});

test("a turn sees what a turn on the other machine wrote, and so back, with nobody pushing or pulling", async () => {
  await home.turn("/a", "from home");
  await home.pushed();
  expect(await work.readInTurn("/a")).toBe("from home");
  await work.turn("/a", "from work");
  await work.pushed();
  expect(await home.readInTurn("/a")).toBe("from work");
  await home.pushed();
  expect(await work.readInTurn("/nothing")).toBe(null);
  await work.pushed();
  expect(await home.readInTurn("/nothing")).toBe(null);
  expect((await home.status()).metrics.pulls.done).toBeGreaterThan(0);
});

test("`run` pulls before the agent's code takes the turn up", async () => {
  await home.turn("/run", "from home");
  await home.pushed();
  const wire = await stage.wire(work.daemon, "admin");
  const announced = Promise.withResolvers<string>();
  wire.subscribe(`vlinder.v1.${AGENT}.invoke`, {
    callback: (_error, { data }) => announced.resolve((decodeBody(data) as unknown as InvokeMessage).turn),
  });
  await wire.flush();
  const begun = work.admin.request(AGENT, "run", { input: Buffer.from("x"), limit: 60_000 });
  const turn = await announced.promise;
  await work.admin.request(AGENT, "turn.accept", { turn });
  const { value } = await work.admin.request(AGENT, "kv.get", { turn, key: "/run" });
  expect(Buffer.from(value).toString()).toBe("from home");
  await work.admin.request(AGENT, "turn.complete", { turn });
  expect(await begun).toMatchObject({ kind: "completed" });
  await work.pushed();
});

test("a write outside of turns is pushed when it has been quiet", async () => {
  expect(await home.put("/quiet", "x")).toMatchObject({ sync: { owed: { commits: 1 } } });
  await home.pushed();
  expect(await work.readInTurn("/quiet")).toBe("x");
});

describe("the bucket is gone", () => {
  test("turns run on local state, and the lock says so: in replies, in status, as an event, once in the log", async () => {
    await rename(folder, `${folder}-away`);
    home.events.length = 0;
    await home.turn("/alone", "1");
    await until("the lock is on", () => home.events.length > 0);
    expect(home.events).toMatchObject([
      { agent: AGENT, lock: { class: "retry" }, error: { code: "unavailable", details: { remedy: /mount/ } } },
    ]);
    // No turn waits for it now: far from the budget, though on a machine that does other work.
    const began = performance.now();
    expect(await home.turn("/alone", "2")).toMatchObject({
      owed: { commits: expect.any(Number) },
      lock: { class: "retry", since: expect.any(String), next: expect.any(String) },
      error: { code: "unavailable" },
    });
    expect(performance.now() - began).toBeLessThan(1_500);
    expect(await home.readInTurn("/alone")).toBe("2");
    expect(await home.put("/alone", "3")).toMatchObject({ sync: { lock: { class: "retry" }, error: {} } });
    const { results } = await home.admin.request(AGENT, "kv.pipeline", {
      ops: [{ op: "put", key: "/alone", value: Buffer.from("4") }],
    });
    expect(results).toMatchObject([{ ok: { sync: { lock: { class: "retry" } } } }]);
    expect(await home.agent()).toMatchObject({
      when: "turn",
      lock: { class: "retry" },
      error: { code: "unavailable" },
    });
    expect((await home.status()).metrics.pulls.failed.retry).toBeGreaterThan(0);
    expect(home.daemon.logged(40).filter((line) => line.includes("sync stands still"))).toHaveLength(1);
  });

  test("an agent hears of its own lock, and not of another's", async () => {
    const own = await stage.wire(home.daemon, AGENT);
    const heard: unknown[] = [];
    own.subscribe(`vlinder.v1.${AGENT}.events.sync`, { callback: (_error, { data }) => heard.push(decodeBody(data)) });
    await own.flush();
    await rename(`${folder}-away`, folder);
    await home.admin.admin("sync.push");
    await home.admin.admin("sync.pull");
    await until("the lock is off", () => heard.length > 0);
    expect(heard).toMatchObject([{ agent: AGENT, lock: null, error: null }]);
    expect(home.events.at(-1)).toMatchObject({ lock: null });
    expect(await home.agent()).toMatchObject({ lock: null, error: null });
  });

  test("and comes back: what is owed is pushed by itself, and the lock is off", async () => {
    await rename(folder, `${folder}-away`);
    home.events.length = 0;
    await home.turn("/back", "x");
    await until("the lock is on", () => home.events.length === 1);
    await rename(`${folder}-away`, folder);
    await until("the lock is off", () => home.events.length === 2, 30_000);
    expect(home.events[1]).toMatchObject({ lock: null });
    await home.pushed();
    // The other machine may have missed the folder, too, and tries again later.
    await until("nor has the other machine a lock", async () => (await work.agent()).lock === null, 30_000);
    expect(await work.readInTurn("/back")).toBe("x");
  });
});

test("what is owed is pushed on SIGTERM, and after a kill -9 with the next start", async () => {
  await home.daemon.configure(LONG_QUIET);
  expect((await home.admin.admin("daemon.reload")).reloaded).toEqual(["sync"]);
  await home.put("/stopped", "x");
  expect(await home.daemon.stop()).toBe(0);
  expect(await work.readInTurn("/stopped")).toBe("x");
  await home.daemon.start();
  await home.put("/killed", "x");
  await home.daemon.kill();
  expect(await work.readInTurn("/killed")).toBe(null);
  await home.daemon.start();
  await home.pushed();
  expect(await work.readInTurn("/killed")).toBe("x");
});

test("an agent.toml with its own `when` is not synced by itself", async () => {
  const own = "byhand" as AgentName;
  await stage.register(home.daemon, own, `${STORAGE}[sync]\nwhen = "manual"\n`);
  const { turn } = await home.admin.request(own, "turn.begin", {});
  await home.admin.request(own, "kv.put", { turn, key: "/a", value: Buffer.from("x") });
  await home.admin.request(own, "turn.complete", { turn });
  await home.turn("/other", "x");
  await until("the other one is pushed", async () => {
    const { agents } = await home.status();
    return agents.find(({ agent }) => agent === AGENT)?.owed.commits === 0;
  });
  const { agents } = await home.status();
  const item = agents.find(({ agent }) => agent === own);
  expect(item).toMatchObject({ when: "manual", lock: null });
  expect(item?.owed.commits).toBeGreaterThan(0);
});

test("a bucket that never answers: a turn waits for its budget and no more, and a stop for its own", async () => {
  const hung = await stage.path("hung");
  const machine = await Machine.start(hung, '[sync]\npull_budget = "500ms"\nstop_push = "1s"\n');
  await machine.pushed();
  // Who opens a pipe waits until somebody writes to it.
  await rm(path.join(hung, "vault.json"));
  execFileSync("mkfifo", [path.join(hung, "vault.json")]);
  const began = performance.now();
  await machine.turn("/a", "1");
  expect(performance.now() - began).toBeGreaterThan(450);
  expect(await machine.readInTurn("/a")).toBe("1");
  await machine.daemon.stop();
  expect(machine.daemon.log.join("\n")).toContain("stopped before the last push was done");
  expect(machine.daemon.log.at(-1)).toContain('"stopped"');
});
