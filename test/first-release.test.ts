import { chmod, cp, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type AgentName, type BranchName, canonicalJson, type Hash, MAIN, parseKey, sha256 } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { type Core, openCore } from "../daemon/src/daemon-core.ts";
import { createLog } from "../daemon/src/observe/log.ts";
import { loadConfig } from "../daemon/src/registry/config.ts";
import { openHome } from "../daemon/src/registry/home.ts";
import type { StoredReply } from "../daemon/src/storage/object-storage.ts";
import { openSqliteObjects } from "../daemon/src/storage/backends/sqlite/sqlite-objects.ts";
import { type AgentSummary, summaryOf } from "./harness/agent-summary.ts";
import { newStage } from "./harness/stage.ts";
import { TestDaemon } from "./harness/test-daemon.ts";

/*
 * Files that the first release wrote (fixtures/first-release) must open with the code of now and hold
 * what they held, to the last commit: whoever updates keeps everything.
 */

interface Expected {
  readonly agents: Readonly<Record<string, AgentSummary>>;
  readonly replies: { readonly todo: readonly { readonly id: string; readonly stored: StoredReply | null }[] };
  readonly searches: {
    readonly library: readonly {
      readonly at: Hash;
      readonly vector: readonly number[];
      readonly items: readonly { readonly key: string; readonly score: number }[];
    }[];
  };
  readonly owed: readonly { readonly agent: string; readonly commits: number }[];
  readonly bucketHeads: Readonly<Record<string, string>>;
}

const stage = newStage();
const FIXTURE = fileURLToPath(new URL("fixtures/first-release", import.meta.url));
const expected = JSON.parse(await readFile(path.join(FIXTURE, "expected.json"), "utf8")) as Expected;
const AGENTS = Object.keys(expected.agents) as AgentName[];
const TODO = "todo" as AgentName;

/** A copy of home and bucket that a test may change. */
async function copyOfFiles(): Promise<{ home: string; bucket: string }> {
  const folder = await stage.path("first-release");
  await cp(FIXTURE, folder, { recursive: true });
  const home = path.join(folder, "home");
  const bucket = pathToFileURL(path.join(folder, "bucket")).href;
  await writeFile(path.join(home, "sync/bucket.json"), canonicalJson({ uri: bucket }));
  // Git keeps no modes.
  for (const file of ["device-key", "devices.json"]) await chmod(path.join(home, "sync", file), 0o600);
  return { home, bucket };
}

async function open(folder: string): Promise<Core> {
  const home = await openHome(folder);
  const core = await openCore({ home, config: await loadConfig(home, {}), log: createLog("error") });
  onTestFinished(() => core.close());
  return core;
}

test("every branch, state, value, reflog entry and count is what it was, and nothing is damaged", async () => {
  const { home } = await copyOfFiles();
  const log = path.join(home, "agents/notes/objects.db-wal");
  expect((await stat(log)).size, "a log that must be replayed").toBeGreaterThan(0);
  for (let round = 1; round <= 2; round++) {
    const core = await open(home);
    for (const name of AGENTS) {
      const before = expected.agents[name] as AgentSummary;
      expect(await summaryOf(core, name, Object.keys(before.states)), `${name}, opening ${round}`).toEqual(before);
      expect((await core.registry.get(name).engine.verify()).damage, name).toEqual([]);
    }
    await core.close();
  }
});

test("kept replies are found by their ids, and those that were dropped are not", async () => {
  const { home } = await copyOfFiles();
  const storage = await openSqliteObjects({ path: path.join(home, "agents/todo/objects.db"), durability: "disk" });
  onTestFinished(() => storage.close());
  expect(expected.replies.todo.filter(({ stored }) => stored !== null).length).toBeGreaterThan(20);
  for (const { id, stored } of expected.replies.todo) expect(await storage.reply(id), id).toEqual(stored);
});

test("searches find the same with the index that is there, now and in the past", async () => {
  const { home } = await copyOfFiles();
  const core = await open(home);
  const { engine, vectors } = core.registry.get("library" as AgentName);
  await vectors?.catchUp();
  expect(vectors?.status().notes).toEqual([]);
  for (const { at, vector, items } of expected.searches.library) {
    const query = { vector: Float32Array.from(vector), limit: items.length };
    const found = (await vectors?.search(await engine.view(at), query)) ?? [];
    expect(found.map(({ key }) => key)).toEqual(items.map(({ key }) => key));
    for (const [index, item] of items.entries()) expect(found[index]?.score).toBeCloseTo(item.score, 5);
  }
});

test("sync goes on: what was owed is owed, is pushed as a delta, and a new machine gets all of it", async () => {
  const { home, bucket } = await copyOfFiles();
  const clone = await open(await stage.path("clone"));
  await clone.sync.init(bucket);
  const pulled = await clone.pull();
  expect(pulled.agents.map(({ error }) => error)).toEqual(AGENTS.map(() => null));
  for (const name of AGENTS) {
    const { engine } = clone.registry.get(name);
    expect(engine.branch(MAIN).head, name).toBe(expected.bucketHeads[name]);
    expect((await engine.verify()).damage, name).toEqual([]);
  }

  const core = await open(home);
  const owed = (await core.sync.status()).agents.map(({ agent, owed: { commits } }) => ({ agent, commits }));
  expect(owed).toEqual(expected.owed);
  const pushed = await core.sync.push();
  for (const { agent, error, commits } of pushed.agents) {
    expect({ agent, error, commits }).toEqual({ ...owed.find((one) => one.agent === agent), error: null });
  }
  await clone.pull();
  for (const name of AGENTS) {
    expect(clone.registry.get(name).engine.branch(MAIN).head).toBe(core.registry.get(name).engine.branch(MAIN).head);
  }
});

test("writing goes on where it was: on main, on a fork, and not on a sealed branch", async () => {
  const { home } = await copyOfFiles();
  const core = await open(home);
  const { engine } = core.registry.get(TODO);
  const bytes = Buffer.from("written now");
  const ops = [{ key: parseKey("/task/3"), value: { hash: sha256(bytes), bytes } }];
  const write = (branch: string): Promise<{ state: Hash }> =>
    engine.write({ space: "kv", kind: "kv.put", branch: branch as BranchName, ops });
  const before = engine.branch(MAIN).head;
  const { state } = await write("main");
  expect((await engine.commit(state)).parents).toEqual([before]);
  await write("side/deeper");
  await expect(write("frozen")).rejects.toMatchObject({ code: "sealed" });
  await engine.rewind(MAIN, before);
  expect((await engine.commit(engine.branch(MAIN).head)).snapshot).toBe((await engine.commit(before)).snapshot);
  expect((await engine.verify()).damage).toEqual([]);
});

test("the daemon starts on the home and serves it without a warning", async () => {
  const { home } = await copyOfFiles();
  const daemon = new TestDaemon(home);
  onTestFinished(() => void daemon.stop());
  await daemon.start();
  const admin = await stage.client({ home });
  const notes = await admin.request("notes" as AgentName, "kv.get", { key: "/in-the-log" });
  expect(Buffer.from(notes.value).toString()).toBe("only there");
  for (const name of AGENTS) {
    expect(await admin.request(name, "timeline.verify", {}), name).toMatchObject({ ok: true });
  }
  expect(daemon.logged(40)).toEqual([]);
  await daemon.stop();
});
