import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AgentName } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { listAgent } from "../../src/sync/listing.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { rounds } from "../../../test/harness/long.ts";
import { FaultyBucket } from "./faulty-bucket.ts";
import { Machine, newDevice, tempBucket, tempFolder, TODO } from "./machine.ts";
import { noise } from "./noise.ts";

async function files(uri: string): Promise<{ heads: number; packs: number; bytes: number }> {
  const { heads, packs } = await listAgent(await openBucket(uri), TODO);
  return { heads: heads.length, packs: packs.size, bytes: [...packs.values()].reduce((a, b) => a + b, 0) };
}

/** Machines on one bucket; the first has the agent, the others are empty. */
async function machines(count: number): Promise<{ uri: string; all: Machine[] }> {
  const uri = await tempBucket();
  const all: Machine[] = [];
  for (let i = 0; i < count; i++) {
    const machine = await Machine.start();
    await machine.sync.init(uri);
    all.push(machine);
  }
  await all[0]?.add();
  return { uri, all };
}

describe("init", () => {
  test("makes a vault, and the next machine joins it", async () => {
    const uri = await tempBucket();
    const [a, b] = [await Machine.start(), await Machine.start()];
    const made = await a.sync.init(uri);
    expect(made).toMatchObject({ bucket: uri, created: true });
    expect(await b.sync.init(uri)).toMatchObject({ bucket: uri, vault: made.vault, created: false });
    expect(await a.sync.init(uri)).toMatchObject({ bucket: uri, vault: made.vault, created: false });
    await a.restart();
    expect(a.sync.bucket).toBe(uri);
  });

  test("of two at once gives one vault", async () => {
    for (let i = 0; i < 10; i++) {
      const uri = await tempBucket();
      const both = [await Machine.start(), await Machine.start()];
      const made = await Promise.all(both.map((machine) => machine.sync.init(uri)));
      expect(new Set(made.map(({ vault }) => vault)).size).toBe(1);
      expect(made.filter(({ created }) => created).length).toBe(1);
    }
  });

  test("refuses a bucket with another vault, and brings its own to an empty one", async () => {
    const [one, two, three] = [await tempBucket(), await tempBucket(), await tempBucket()];
    const [a, b] = [await Machine.start(), await Machine.start()];
    const { vault } = await a.sync.init(one);
    await b.sync.init(two);
    await expect(a.sync.init(two)).rejects.toMatchObject({ code: "denied", remedy: /leave/ });
    expect(a.sync.bucket).toBe(one);
    (await a.add()).put("/a", "1");
    await a.push();
    expect(await a.sync.init(three)).toMatchObject({ vault, created: true });
    await a.syncAll();
    await b.restart();
    const c = await Machine.start();
    await c.sync.init(three);
    await c.syncAll();
    expect(c.todo.contents()).toEqual({ "/a": "1" });
  });

  test("a vault that was swapped under way, or a drive that is not mounted, stops push and pull, and is remembered", async () => {
    const { uri, all } = await machines(1);
    const [a] = all as [Machine];
    await a.syncAll();
    const folder = fileURLToPath(uri);
    await rm(folder, { recursive: true });
    await expect(a.sync.push()).rejects.toMatchObject({ code: "unavailable", remedy: /mount/ });
    await mkdir(folder);
    await expect(a.sync.push()).rejects.toMatchObject({ code: "unavailable", remedy: /mount/ });
    expect(await readdir(folder)).toEqual([]);
    expect((await a.sync.status()).agents[0]?.error).toMatchObject({ code: "unavailable" });
    await (await Machine.start()).sync.init(uri);
    await expect(a.sync.pull()).rejects.toMatchObject({ code: "denied" });
    await expect(a.sync.push()).rejects.toMatchObject({ code: "denied" });
  });

  test("without a bucket, push says how to get one", async () => {
    const a = await Machine.start();
    await expect(a.sync.push()).rejects.toMatchObject({ code: "unavailable", remedy: /init/, retryable: false });
    expect(await a.sync.status()).toMatchObject({ bucket: null, vault: null, device: a.device });
  });
});

describe("push and pull", () => {
  test("a second machine gets all of it, and publishes a head of its own", async () => {
    const { uri, all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    a.todo.put("/todos.json", "[]");
    a.todo.put("/large", noise(1, 300_000));
    expect(await a.push()).toMatchObject({ commits: 3, error: null });
    const pulled = (await b.sync.pull()).agents[0];
    expect(pulled).toMatchObject({ agent: "todo", created: true, commits: 2, error: null });
    expect(pulled?.notes.join()).toContain(`device ${a.device} is new`);
    expect(b.todo.head()).toBe(a.todo.head());
    expect(b.todo.contents()).toEqual(a.todo.contents());
    expect(await b.push()).toMatchObject({ commits: 0, objects: 0, error: null });
    expect(await files(uri)).toMatchObject({ heads: 2, packs: 1 });
  });

  test("nothing to push writes nothing", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    for (let i = 0; i < 3; i++) for (const machine of all) await machine.syncAll();
    for (const machine of [a, b]) {
      let puts = 0;
      machine.wrap = (bucket) =>
        new FaultyBucket(bucket, ({ method }) => {
          if (method === "put" || method === "delete") puts++;
          return "fine";
        });
      await machine.syncAll();
      expect(puts).toBe(0);
    }
  });

  test("each push leaves one head of the device", async () => {
    const { uri, all } = await machines(1);
    const [a] = all as [Machine];
    for (let i = 0; i < 4; i++) {
      a.todo.put("/a", String(i));
      await a.push();
    }
    expect(await files(uri)).toMatchObject({ heads: 1, packs: 4 });
  });

  test("fast-forward, both ways", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    a.todo.put("/a", "1");
    await a.syncAll();
    await b.syncAll();
    b.todo.put("/b", "2");
    await b.syncAll();
    expect((await a.pull()).branches).toMatchObject([{ name: "main", result: "fast-forward", conflicts: 0 }]);
    expect(a.todo.head()).toBe(b.todo.head());
    expect((await b.pull()).branches).toMatchObject([{ result: "unchanged" }]);
  });

  test("three machines that wrote apart end on the same commit, with every value", async () => {
    const { all } = await machines(3);
    const [a, b, c] = all as [Machine, Machine, Machine];
    await a.syncAll();
    await b.syncAll();
    await c.syncAll();
    for (const [i, machine] of all.entries()) {
      machine.todo.put("/same", `from ${i}`);
      machine.todo.put(`/own-${i}`, "x");
      await machine.push();
    }
    for (let round = 0; round < 3; round++) for (const machine of all) await machine.syncAll();
    expect(new Set(all.map(({ todo }) => todo.head())).size).toBe(1);
    const contents = Object.values(a.todo.contents());
    for (const i of [0, 1, 2]) expect(contents).toContain(`from ${i}`);
    // And it stays so: nothing is left to say.
    const heads = a.todo.head();
    for (const machine of all) await machine.syncAll();
    expect(c.todo.head()).toBe(heads);
  });

  test("a push that finds heads that it has not merged works, and loses nothing", async () => {
    const { uri, all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    await b.add();
    a.todo.put("/a", "1");
    b.todo.put("/b", "2");
    expect(await a.push()).toMatchObject({ error: null });
    expect(await b.push()).toMatchObject({ error: null });
    expect(await files(uri)).toMatchObject({ heads: 2 });
    for (const machine of [a, b, a, b]) await machine.syncAll();
    expect(a.todo.head()).toBe(b.todo.head());
    expect(a.todo.contents()).toEqual({ "/a": "1", "/b": "2" });
  });

  test("two that push at the same instant lose nothing", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    await a.syncAll();
    await b.syncAll();
    const times = rounds(20);
    for (let i = 0; i < times; i++) {
      a.todo.put(`/a${i}`, "a");
      b.todo.put(`/b${i}`, "b");
      await Promise.all([a.push(), b.push()]);
      await Promise.all([a.syncAll(), b.syncAll()]);
    }
    for (const machine of [a, b, a, b]) await machine.syncAll();
    expect(a.todo.head()).toBe(b.todo.head());
    expect(Object.keys(a.todo.contents()).length).toBe(2 * times);
  });

  test("a deleted branch and a seal travel; a branch goes with its name", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    const [fix, old] = [a.todo.fork("fix"), a.todo.fork("old")];
    a.todo.put("/fix", "1", fix);
    await a.syncAll();
    await b.syncAll();
    expect(b.todo.contents(fix)).toEqual({ "/fix": "1" });
    a.todo.deleteBranch(fix);
    a.todo.seal(old);
    await a.syncAll();
    const { branches } = await b.pull();
    expect(branches.find(({ name }) => name === "fix")).toMatchObject({ result: "deleted" });
    expect(b.todo.table.get(fix)).toMatchObject({ head: null, deleted: a.todo.table.get(fix)?.deleted });
    expect(b.todo.table.get(old)).toMatchObject({ sealed: true, name: "old" });
    await b.syncAll();
    await a.syncAll();
    expect(a.todo.table.get(fix)?.head).toBeNull();
  });

  test("a tombstone brings the commits that it covers, also those that were never pushed before", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    const fix = a.todo.fork("fix");
    await a.syncAll();
    await b.syncAll();
    a.todo.put("/fix", "1", fix);
    a.todo.deleteBranch(fix);
    await a.syncAll();
    await b.syncAll();
    expect(b.todo.table.get(fix)?.head).toBeNull();
  });

  test("an agent that was removed here is not brought back, and asking for it says why", async () => {
    const { uri, all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    await a.syncAll();
    await b.syncAll();
    await b.remove(TODO);
    expect(await b.sync.pull()).toEqual({ agents: [] });
    await expect(b.sync.pull(TODO)).rejects.toMatchObject({ code: "not_registered", remedy: /agent add/ });
    expect(b.agents.size).toBe(0);
    expect(await files(uri)).toMatchObject({ heads: 2 });
    await expect(b.sync.pull("other" as AgentName)).rejects.toMatchObject({ code: "not_registered" });
  });

  test("a small change in a large state pushes and pulls a small pack", async () => {
    const { uri, all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    for (let i = 0; i < 60; i++) a.todo.put(`/large/${i}`, noise(i, 100_000));
    const first = await a.push();
    expect(first.bytes).toBeGreaterThan(6_000_000);
    await b.syncAll();
    await a.syncAll();
    const before = await files(uri);
    a.todo.put("/small", "x".repeat(1000));
    const { bytes } = await a.push();
    expect(bytes).toBeLessThan(8_000);
    expect((await files(uri)).bytes - before.bytes).toBeLessThan(8_000);
    expect((await b.pull()).bytes).toBeLessThan(8_000);
    expect(b.todo.head()).toBe(a.todo.head());
  });

  test("a large state goes in packs of about 16 MiB, with progress", async () => {
    const { uri, all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    for (let i = 0; i < 80; i++) a.todo.put(`/large/${i}`, noise(i, 500_000));
    const seen: number[] = [];
    await a.sync.push(TODO, ({ done }) => void seen.push(done));
    expect((await files(uri)).packs).toBe(3);
    expect(seen.length).toBe(3);
    const totals: (number | null)[] = [];
    await b.sync.pull(TODO, ({ done, total }) => void totals.push(done, total));
    expect(totals.at(-1)).toBe(totals.at(-2));
    expect(b.todo.head()).toBe(a.todo.head());
  });
});

describe("what is owed", () => {
  test("is counted as commits come, and nothing after a push or pull", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    await a.syncAll();
    expect(await a.sync.owed(TODO)).toBeNull();
    a.todo.put("/a", "12345");
    const owed = await a.sync.owed(TODO);
    expect(owed).toMatchObject({ owed: { commits: 1 }, since: expect.stringMatching(/^2023/) });
    a.todo.put("/b", "x".repeat(5000));
    const more = await a.sync.owed(TODO);
    expect(more?.owed.commits).toBe(2);
    expect((more?.owed.bytes ?? 0) - (owed?.owed.bytes ?? 0)).toBeGreaterThan(5000);
    await a.push();
    expect(await a.sync.owed(TODO)).toBeNull();
    await b.pull();
    expect(await b.sync.owed(TODO)).toBeNull();
  });

  test("stands in the status beside the error, until it is pushed", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    await a.syncAll();
    await b.syncAll();
    await a.syncAll();
    a.todo.put("/a", "1");
    a.wrap = (bucket) => new FaultyBucket(bucket, ({ method }) => (method === "put" ? "fail before" : "fine"));
    expect(await a.push()).toMatchObject({ error: { code: "unavailable", retryable: true } });
    await a.restart();
    expect(await a.sync.owed(TODO)).toMatchObject({ owed: { commits: 1 }, error: { code: "unavailable" } });
    const { agents, devices } = await a.sync.status();
    expect(agents[0]).toMatchObject({ owed: { commits: 1 }, error: { details: { since: expect.any(String) } } });
    expect(devices.find(({ device }) => device === a.device)).toMatchObject({ self: true });
    expect(devices.find(({ device }) => device === b.device)).toMatchObject({ self: false, seen: expect.any(String) });
    a.wrap = (bucket) => bucket;
    await a.push();
    expect((await a.sync.status()).agents[0]).toMatchObject({ owed: { commits: 0 }, since: null, error: null });
  });

  test("one agent's error does not keep the others", async () => {
    const { all } = await machines(1);
    const [a] = all as [Machine];
    (await a.add("other" as AgentName)).put("/x", "1");
    a.todo.put("/a", "1");
    a.wrap = (bucket) =>
      new FaultyBucket(bucket, ({ path }) => (path.includes("agents/todo/packs") ? "refuse" : "fine"));
    const { agents } = await a.sync.push();
    expect(agents).toMatchObject([
      { agent: "todo", error: { code: "denied" } },
      { agent: "other", error: null },
    ]);
    expect((await a.sync.status()).agents).toMatchObject([{ error: { code: "denied" } }, { error: null }]);
  });

  test("all agents' packs go in one put, then all heads in one, then what they replace in one delete", async () => {
    const { all } = await machines(1);
    const [a] = all as [Machine];
    const other = await a.add("other" as AgentName);
    const push = async (): Promise<string[]> => {
      let bucket: FaultyBucket | undefined;
      a.todo.put("/a", String(Math.random()));
      other.put("/a", String(Math.random()));
      a.wrap = (inner) => (bucket = new FaultyBucket(inner, () => "fine"));
      const { agents } = await a.sync.push();
      expect(agents).toMatchObject([{ commits: expect.any(Number), error: null }, { error: null }]);
      return (bucket?.trace ?? []).map((call) => call.replaceAll(/[0-9a-f]{32,}/g, "X"));
    };
    await push();
    const packs = "agents/todo/packs/X.pack agents/other/packs/X.pack";
    const heads = (n: number): string => `agents/todo/heads/X/${n}-X.json agents/other/heads/X/${n}-X.json`;
    expect(await push()).toEqual([
      "get vault.json",
      "list agents/",
      `put ${packs}`,
      `sizes ${packs}`,
      `put ${heads(2)}`,
      `sizes ${heads(2)}`,
      `delete ${heads(1)}`,
    ]);
  });
});

describe("a home that was", () => {
  test("copied takes a new id, says so, and nothing is lost", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    a.todo.put("/a", "1");
    await a.syncAll();
    await a.sync.close();
    const home = await tempFolder();
    await cp(a.home, home, { recursive: true });
    const copy = await Machine.start({ home, device: a.device });
    await copy.add();
    await copy.todo.receive(
      [...a.todo.objects].map(
        ([name, bytes]) => ({ kind: name.split(" ")[0], hash: name.split(" ")[1], bytes }) as never,
      ),
    );
    await copy.todo.integrate(a.todo.branches());
    await a.restart();
    const id = a.device;
    a.todo.put("/from-a", "1");
    copy.todo.put("/from-copy", "1");
    await a.push();
    await copy.push();
    expect(copy.device).not.toBe(id);
    expect(copy.log.join()).toContain("new device id");
    expect((await copy.sync.status()).agents[0]?.notes.join()).toContain(`this machine is device ${copy.device}`);
    for (const machine of [a, copy, b, a, copy, b]) await machine.syncAll();
    expect(a.device).toBe(id);
    expect(new Set([a, copy, b].map(({ todo }) => todo.head())).size).toBe(1);
    expect(Object.keys(b.todo.contents())).toEqual(["/a", "/from-a", "/from-copy"]);
  });

  test("bereft of its sync.db goes on under a new id, and nothing is lost or sent twice by a pull", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    a.todo.put("/a", "1");
    await a.syncAll();
    await a.sync.close();
    await rm(join(a.home, "agents", "todo", "sync.db"));
    await a.restart();
    a.todo.put("/b", "2");
    expect(await a.pull()).toMatchObject({ error: null, commits: 0 });
    expect(await a.push()).toMatchObject({ error: null, commits: 1 });
    await b.syncAll();
    expect(b.todo.head()).toBe(a.todo.head());
  });

  test("left with a damaged sync.db sets it aside and says so", async () => {
    const { all } = await machines(1);
    const [a] = all as [Machine];
    await a.syncAll();
    await a.sync.close();
    for (const end of ["-wal", "-shm"]) await rm(join(a.home, "agents", "todo", `sync.db${end}`), { force: true });
    await writeFile(join(a.home, "agents", "todo", "sync.db"), "not a database at all, ".repeat(50));
    await a.restart();
    await a.syncAll();
    expect(a.log.join()).toContain("set aside");
    expect((await a.sync.status()).agents[0]?.notes.join()).toContain("set aside");
  });

  test("bereft of its key takes a new id, so that others believe it", async () => {
    const { all } = await machines(2);
    const [a, b] = all as [Machine, Machine];
    await a.syncAll();
    await b.syncAll();
    const before = a.device;
    await rm(join(a.home, "sync", "device-key"));
    await a.restart();
    expect(a.device).not.toBe(before);
    a.todo.put("/a", "1");
    await a.syncAll();
    expect(await b.pull()).toMatchObject({ error: null });
    expect(b.todo.head()).toBe(a.todo.head());
    expect(newDevice()).not.toBe(before);
  });
});

describe("a bucket that lost", () => {
  test("a pack gets what it held again", async () => {
    const { uri, all } = await machines(1);
    const [a] = all as [Machine];
    for (let i = 0; i < 3; i++) {
      a.todo.put(`/${i}`, String(i));
      await a.push();
    }
    const folder = join(fileURLToPath(uri), "agents/todo/packs");
    const [lost] = await readdir(folder);
    await rm(join(folder, lost as string));
    expect(await a.push()).toMatchObject({ error: null });
    const b = await Machine.start();
    await b.sync.init(uri);
    await b.syncAll();
    expect(b.todo.head()).toBe(a.todo.head());
  });

  test("all but its vault is filled again by the next push", async () => {
    const { uri, all } = await machines(1);
    const [a] = all as [Machine];
    a.todo.put("/a", "1");
    await a.push();
    await rm(join(fileURLToPath(uri), "agents"), { recursive: true });
    expect(await a.push()).toMatchObject({ error: null, commits: 2 });
    const b = await Machine.start();
    await b.sync.init(uri);
    await b.syncAll();
    expect(b.todo.head()).toBe(a.todo.head());
  });
});
