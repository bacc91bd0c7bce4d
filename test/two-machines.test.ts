import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, PullReply } from "@vlinder/protocol";
import { beforeAll, expect, test } from "vitest";
import { allKeys, headOf } from "./harness/reading.ts";
import { newStage, SYNC_BY_HAND } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const AGENT = "memory" as AgentName;
const MERGED =
  'object_storage = "sqlite://objects.db"\nvector_storage = "sqlite://vectors.db"\n[vectors]\ndimension = 3\n';

/** One machine: its daemon, and what a person does there. */
class Machine {
  readonly daemon: TestDaemon;
  readonly admin: Client;

  constructor(daemon: TestDaemon, admin: Client) {
    this.daemon = daemon;
    this.admin = admin;
  }

  static async start(bucket: string): Promise<Machine> {
    const daemon = await stage.daemon(SYNC_BY_HAND);
    const admin = await stage.admin(daemon);
    await admin.admin("sync.init", { uri: bucket });
    return new Machine(daemon, admin);
  }

  async put(key: string, value: string, branch = "main"): Promise<string> {
    return (await this.admin.request(AGENT, "kv.put", { key, value: Buffer.from(value), branch })).state;
  }

  async get(key: string, branch = "main"): Promise<string | null> {
    try {
      const { value } = await this.admin.request(AGENT, "kv.get", { key, branch });
      return Buffer.from(value).toString();
    } catch (error) {
      if ((error as { code?: string }).code === "not_found") return null;
      throw error;
    }
  }

  async push(): Promise<void> {
    const { agents } = await this.admin.admin("sync.push");
    expect(agents.map(({ error }) => error).filter((error) => error !== null)).toEqual([]);
  }

  async pull(): Promise<PullReply> {
    const reply = await this.admin.admin("sync.pull");
    expect(reply.agents.map(({ error }) => error).filter((error) => error !== null)).toEqual([]);
    return reply;
  }

  head(): Promise<string> {
    return headOf(this.admin, AGENT);
  }

  async snapshot(): Promise<string> {
    return (await this.admin.admin("agents.show", { agent: AGENT })).snapshot;
  }

  async branches(): Promise<string[]> {
    return (await this.admin.request(AGENT, "timeline.branches", {})).items.map(({ name }) => name);
  }
}

let bucket: string;
let home: Machine;
let work: Machine;

beforeAll(async () => {
  bucket = `file://${await stage.path("bucket")}`;
  home = await Machine.start(bucket);
  work = await Machine.start(bucket);
  await stage.register(home.daemon, AGENT, MERGED);
});

/** Both push what they have and pull what the other has, until nothing is left to say. */
async function meet(): Promise<void> {
  await home.push();
  await work.pull();
  await work.push();
  await home.pull();
  await home.push();
}

test("a clone has the same commit, the same snapshot, and the vectors to search", async () => {
  for (let i = 0; i < 100; i++) await home.put(`/n/${i}`, `note ${i}`);
  const sdk = await stage.sdk(home.daemon, AGENT);
  for (let i = 0; i < 30; i++) await sdk.vectors.put(`/v/${i}`, [i, 30 - i, 1], { metadata: { i } });
  const past = await home.put("/past", "then");
  await sdk.vectors.delete("/v/3");
  await home.push();
  const pulled = await work.pull();
  expect(pulled.agents).toMatchObject([{ agent: AGENT, created: true, error: null }]);
  expect(await work.head()).toBe(await home.head());
  expect(await work.snapshot()).toBe(await home.snapshot());
  expect(await work.admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });

  // With the agent's own credentials, made on this machine.
  const there = await stage.sdk(work.daemon, AGENT);
  for (const query of [
    [3, 27, 1],
    [29, 1, 1],
  ]) {
    expect(await there.vectors.search(query, { limit: 5 })).toEqual(await sdk.vectors.search(query, { limit: 5 }));
  }
  const [nearest] = await there.vectors.search([3, 27, 1], { limit: 1 });
  expect(nearest?.key).not.toBe("/v/3");
  expect((await there.at(past).vectors.search([3, 27, 1], { limit: 1 }))[0]?.key).toBe("/v/3");
});

test("what both wrote while apart: the same commit on both, and every value to be found", async () => {
  await meet();
  await home.put("/same", "from home");
  await home.put("/home", "only at home");
  await home.admin.request(AGENT, "kv.delete", { key: "/n/1" });
  await work.put("/same", "from work");
  await work.put("/work", "only at work");
  await work.put("/n/1", "changed at work");
  await meet();
  expect(await work.head()).toBe(await home.head());
  expect(await work.snapshot()).toBe(await home.snapshot());
  for (const machine of [home, work]) {
    expect([await machine.get("/home"), await machine.get("/work")]).toEqual(["only at home", "only at work"]);
    expect(await machine.get("/n/1"), "a change beats a delete").toBe("changed at work");
    const beside = (await allKeys(machine.admin, AGENT)).filter(({ key }) => key.startsWith("/same"));
    expect(beside).toHaveLength(2);
    const values = await Promise.all(beside.map(({ key }) => machine.get(key)));
    expect(values.toSorted((a, b) => ((a ?? "") < (b ?? "") ? -1 : 1))).toEqual(["from home", "from work"]);
    expect(await machine.admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
  }
});

test("both pull before either pushes its merge: they still make one and the same commit", async () => {
  await meet();
  await home.put("/a", "home");
  await work.put("/b", "work");
  await home.push();
  await work.push();
  await Promise.all([home.pull(), work.pull()]);
  expect(await work.head()).toBe(await home.head());
});

test("a rewind survives the trip, and so does a deleted branch", async () => {
  await meet();
  const before = await home.put("/plan", "good");
  await home.put("/plan", "bad");
  await home.admin.request(AGENT, "timeline.fork", { name: "doomed" });
  await home.put("/doomed", "yes", "doomed");
  await meet();
  expect(await work.branches()).toEqual(["doomed", "main"]);
  expect(await work.get("/doomed", "doomed")).toBe("yes");

  await home.admin.request(AGENT, "timeline.rewind", { to: before });
  await work.admin.request(AGENT, "timeline.delete_branch", { branch: "doomed" });
  await meet();
  await meet();
  for (const machine of [home, work]) {
    expect(await machine.get("/plan")).toBe("good");
    expect(await machine.branches()).toEqual(["main"]);
  }
  expect(await work.head()).toBe(await home.head());
});

test("a promote survives the trip, beside what the other wrote on the old main", async () => {
  await meet();
  const milk = await home.put("/shop/milk", "milk");
  await home.put("/shop/carrots", "carrots");
  await meet();
  await home.admin.request(AGENT, "timeline.fork", { name: "fix", from: milk });
  await home.put("/shop/bread", "bread", "fix");
  const { sealed, branchId } = await home.admin.request(AGENT, "timeline.promote", { branch: "fix" });
  const ham = await work.put("/shop/ham", "written on the old main");
  await sleep(5);
  await work.put("/shop/milk", "two bottles");
  await meet();
  await meet();
  const found: string[] = [];
  for (const machine of [home, work]) {
    const keys = (await allKeys(machine.admin, AGENT)).map(({ key }) => key).filter((key) => key.startsWith("/shop/"));
    expect(keys).toEqual(["/shop/bread", "/shop/ham", "/shop/milk"]);
    expect(await machine.get("/shop/milk")).toBe("two bottles");
    expect(await machine.get("/shop/carrots", sealed)).toBe("carrots");
    await expect(machine.put("/shop/x", "x", sealed)).rejects.toMatchObject({ code: "sealed" });
    const { items } = await machine.admin.request(AGENT, "timeline.branches", {});
    expect(items.find(({ name }) => name === sealed)).toMatchObject({ id: branchId, sealed: true });
    expect(await machine.admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });
    // A time means the same on both.
    const { time } = await machine.admin.request(AGENT, "timeline.show", { ref: ham });
    found.push((await machine.admin.request(AGENT, "timeline.show", { ref: `main@${time}` })).hash);
  }
  expect(found).toEqual([ham, ham]);
  expect(await work.head()).toBe(await home.head());
  expect(await work.snapshot()).toBe(await home.snapshot());
  for (const branch of ["fix", sealed]) await home.admin.request(AGENT, "timeline.delete_branch", { branch });
  await meet();
  await meet();
  expect(await work.branches()).toEqual(["main"]);
});

test("writes say what the bucket lacks, until it is pushed", async () => {
  await meet();
  const reply = await home.admin.request(AGENT, "kv.put", { key: "/owed", value: Buffer.from("x") });
  expect(reply).toMatchObject({ sync: { owed: { commits: 1 } } });
  const { agents } = await home.admin.admin("sync.status");
  expect(agents).toMatchObject([{ agent: AGENT, owed: { commits: 1 }, error: null }]);
  const { results } = await home.admin.request(AGENT, "kv.pipeline", {
    ops: [
      { op: "put", key: "/owed2", value: Buffer.from("x") },
      { op: "get", key: "/owed" },
    ],
  });
  expect(results).toMatchObject([{ ok: { sync: { owed: { commits: 2 } } } }, { ok: { size: 1 } }]);
  await home.push();
  expect(await home.admin.admin("sync.status")).toMatchObject({ agents: [{ owed: { commits: 0 } }] });
  const nothing = await home.admin.request(AGENT, "kv.delete", { key: "/not-there" });
  expect(nothing).not.toHaveProperty("sync");
});

test("an agent that was removed here is not brought back by a pull; added again, it has what the other wrote", async () => {
  await meet();
  await work.admin.admin("agents.remove", { agent: AGENT });
  await home.put("/meanwhile", "written at home");
  await home.push();
  await work.pull();
  expect((await work.admin.admin("agents.list")).items).toEqual([]);
  await expect(work.admin.admin("sync.pull", { agent: AGENT })).rejects.toMatchObject({ code: "not_registered" });
  await expect(work.head()).rejects.toMatchObject({ code: "not_registered" });

  await stage.register(work.daemon, AGENT, MERGED);
  await work.pull();
  expect(await work.get("/meanwhile")).toBe("written at home");
  await meet();
  expect(await work.head()).toBe(await home.head());

  // Purged, and pulled into an empty registration: all of it comes back from the bucket.
  await work.admin.admin("agents.remove", { agent: AGENT, purge: true });
  await stage.register(work.daemon, AGENT, MERGED);
  await work.pull();
  expect(await work.head()).toBe(await home.head());
  expect(await work.snapshot()).toBe(await home.snapshot());
});

test("a bucket that is away is said, and stops nobody", async () => {
  const lost = await Machine.start(`file://${await stage.path("lost")}`);
  await expect(lost.admin.admin("sync.pull", { agent: "nobody" })).rejects.toMatchObject({ code: "not_registered" });
  const none = await stage.daemon();
  await expect((await stage.admin(none)).admin("sync.pull")).rejects.toMatchObject({
    code: "unavailable",
    retryable: false,
    remedy: expect.stringContaining("vlinder init"),
  });
});
