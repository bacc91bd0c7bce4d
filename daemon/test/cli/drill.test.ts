import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentName, DrillReply, SyncStatusReply } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { renderBlocks } from "../../src/cli/outcome.ts";
import { drillBlocks } from "../../src/cli/render/drilled.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import { put } from "../state/harness.ts";
import { documentOf, type RunningDaemon, startDaemon, temporary, vlinder, withCore } from "./harness.ts";

// One home, one bucket, and what can become of it, from one test to the next: each drill reads the code anew, so there are few.

let folder: Awaited<ReturnType<typeof temporary>>;
let daemon: RunningDaemon;
let home: string;
let bucket: string;

async function json(...argv: string[]): Promise<{ code: number; document: Record<string, unknown> }> {
  const ran = await vlinder([...argv, "--json"]);
  return { code: ran.code, document: documentOf(ran) };
}

async function drill(...argv: string[]): Promise<{ code: number; reply: DrillReply }> {
  const { code, document } = await json("sync", "drill", ...argv);
  // Nothing is left on the disk, however it went.
  expect(existsSync(join(home, "drill"))).toBe(false);
  return { code, reply: document as unknown as DrillReply };
}

function agentOf({ agents }: DrillReply, name: string): DrillReply["agents"][number] {
  const found = agents.find(({ agent }) => agent === name);
  if (found === undefined) throw new Error(`no agent ${name} in ${JSON.stringify(agents)}`);
  return found;
}

const packs = (agent: string): string => join(bucket, "agents", agent, "packs");

async function heads(agent: string): Promise<string[]> {
  const all = await readdir(join(bucket, "agents", agent, "heads"), { recursive: true });
  return all.filter((path) => path.endsWith(".json")).map((path) => join(bucket, "agents", agent, "heads", path));
}

const AGENTS = ["gone", "notes", "todo"];

beforeAll(async () => {
  folder = await temporary();
  home = join(folder.path, "home");
  bucket = join(folder.path, "bucket");
  process.env["VLINDER_HOME"] = home;
  process.env["VLINDER_URL"] = "";
  // What a killed drill left.
  await mkdir(join(home, "drill", "left-over", "agents"), { recursive: true });
  daemon = await startDaemon(home);
  for (const name of AGENTS) {
    await mkdir(join(folder.path, name));
    await writeFile(join(folder.path, name, "agent.toml"), `name = "${name}"\nobject_storage = "sqlite://o.db"\n`);
    await vlinder(["agent", "add", join(folder.path, name)]);
    await vlinder(["kv", "put", name, "/a", "1"]);
  }
}, 60_000);

afterAll(async () => {
  await daemon.stop();
  await folder.remove();
});

test("without a bucket there is nothing to restore; with one, doctor asks for a drill", async () => {
  expect(existsSync(join(home, "drill"))).toBe(false);
  expect((await json("sync", "drill")).document).toMatchObject({ error: { code: "unavailable" } });
  const made = await json("init", bucket);
  expect(made.document).toMatchObject({ created: true, probe: { length: 7 }, notes: [] });
  expect((await vlinder(["sync", "push"])).code).toBe(0);
  expect((await vlinder(["doctor"])).out).toMatch(/warning +drill +never/);
  expect((await vlinder(["sync", "status"])).out).toContain("drill   never: vlinder sync drill");
}, 60_000);

test("a bucket that has all is fine, and it is remembered; --keep leaves the home", async () => {
  const kept = join(folder.path, "kept");
  const { code, reply } = await drill("--keep", kept);
  expect({ code, ok: reply.ok, kept: reply.kept }).toEqual({ code: 0, ok: true, kept });
  for (const name of AGENTS) {
    const { ok, here, verified, branches, bytes } = agentOf(reply, name);
    expect({ ok, here }).toEqual({ ok: true, here: true });
    expect(verified).toMatchObject({ commits: 3, damaged: 0 });
    expect(bytes).toBeGreaterThan(100);
    expect(branches).toMatchObject([{ name: "main", result: "equal", missing: 0, owed: 0, more: 0, ok: true }]);
    expect(branches[0]?.restored).toBe(branches[0]?.state);
  }
  expect((await vlinder(["doctor"])).out).toMatch(/ok +drill +the bucket was restored and compared/);
  expect((await json("sync", "status")).document["drill"]).toMatchObject({ ok: true, agent: null, failed: [] });
  const again = await json("sync", "drill", "--keep", kept);
  expect([again.code, again.document]).toMatchObject([1, { error: { code: "conflict" } }]);
}, 120_000);

test("a kept home is a machine of its own, beside which status shows each branch", async () => {
  await withCore(join(folder.path, "kept"), async (core) => {
    await put(core.registry.get("todo" as AgentName).engine, { "/c": "3" });
    expect((await core.push()).agents.every(({ error }) => error === null)).toBe(true);
  });
  if (IS_LONG) {
    expect((await drill("todo")).reply.agents).toMatchObject([{ ok: true, branches: [{ result: "ahead", more: 1 }] }]);
  }
  expect((await vlinder(["sync", "pull"])).code).toBe(0);
  expect((await vlinder(["kv", "get", "todo", "/c"])).out).toBe("3");
  await vlinder(["kv", "put", "todo", "/d", "4"]);
  const { document } = await json("sync", "status", "todo");
  const { agents } = document as unknown as SyncStatusReply;
  expect(agents).toMatchObject([
    {
      agent: "todo",
      heads: [{ n: 1, device: expect.stringMatching(/^[0-9a-f]{32}$/) }],
      branches: [{ branch: "main", relation: "ahead", ahead: 1, behind: 0 }],
    },
  ]);
  expect((await vlinder(["sync", "status", "todo"])).out).toMatch(/main +\w{7} +\w{7} +\w{7} +ahead by 1/);
  expect((await vlinder(["sync", "status"])).out).toMatch(/device +seen +agent +head/);
}, 120_000);

test("an agent that is nowhere is an error, and leaves what the last drill found", async () => {
  const before = (await json("sync", "status")).document["drill"];
  expect(before).not.toBeNull();
  const { code, document } = await json("sync", "drill", "mistyped");
  expect([code, document]).toMatchObject([1, { error: { code: "not_registered" } }]);
  expect((await json("sync", "status")).document["drill"]).toEqual(before);
}, 60_000);

test("what is owed is said, and no fault", async () => {
  const { code, reply } = await drill("todo");
  expect(code).toBe(0);
  expect(reply.agents).toMatchObject([
    { agent: "todo", ok: true, branches: [{ result: "behind", missing: 1, owed: 1, ok: true }] },
  ]);
  expect(renderBlocks(drillBlocks(reply), false)).toMatch(/todo +main +behind by 1, owed/);
}, 120_000);

test("a head that is behind what was pushed, a flipped byte and an agent that is missing are found, each by its name", async () => {
  const own = async (): Promise<string> => {
    const { document } = await json("sync", "status");
    return (await heads("todo")).find((path) => path.includes(String(document["device"]))) as string;
  };
  const old = await own();
  await cp(old, join(folder.path, "old-head.json"));
  expect((await vlinder(["sync", "push", "todo"])).code).toBe(0);
  const now = await own();
  await rename(now, join(folder.path, "new-head.json"));
  await cp(join(folder.path, "old-head.json"), old);

  const [pack] = await readdir(packs("notes"));
  const file = join(packs("notes"), pack as string);
  const bytes = await readFile(file);
  const flipped = Buffer.from(bytes);
  flipped[bytes.length >> 1] = (flipped[bytes.length >> 1] as number) ^ 1;
  await writeFile(file, flipped);
  await rename(join(bucket, "agents", "gone"), join(folder.path, "gone-away"));

  const { code, reply } = await drill();
  expect(code).toBe(1);
  expect(agentOf(reply, "todo")).toMatchObject({
    ok: false,
    branches: [{ result: "behind", missing: 1, owed: 0, ok: false }],
  });
  expect(renderBlocks(drillBlocks(reply), false)).toMatch(/todo +main +behind by 1: 1 commit lost/);
  expect(agentOf(reply, "notes")).toMatchObject({
    ok: false,
    error: { code: "unavailable", message: expect.stringContaining(`${pack} in the bucket`) },
    branches: [{ result: "missing", ok: false }],
  });
  expect(agentOf(reply, "notes").notes.join()).not.toContain("sync stands still");
  expect(agentOf(reply, "gone")).toMatchObject({ ok: false, here: true, verified: null });
  expect((await vlinder(["sync", "status"])).out).toMatch(/drill +failed .*gone, notes, todo/);
  expect((await vlinder(["doctor"])).out).toMatch(/failed +drill +.*not as pushed: gone, notes, todo/);
  if (!IS_LONG) return;

  await rm(file);
  const lost = await drill("notes");
  expect(lost.code).toBe(1);
  expect(lost.reply.agents).toMatchObject([
    { agent: "notes", ok: false, branches: [{ result: "missing", ok: false }] },
  ]);
  expect(lost.reply.agents[0]?.notes.join()).toContain("not all in the bucket");
  await writeFile(file, bytes);
  await rename(join(folder.path, "gone-away"), join(bucket, "agents", "gone"));
  await rm(old);
  await rename(join(folder.path, "new-head.json"), now);
  expect((await drill()).code).toBe(0);
}, 120_000);

test("a bucket that is away is an error, remembered as a drill that failed", async () => {
  await rename(bucket, `${bucket}-away`);
  const ran = await json("sync", "drill");
  expect([ran.code, ran.document]).toMatchObject([1, { error: { code: "unavailable" } }]);
  expect((await json("sync", "status")).document["drill"]).toMatchObject({ ok: false, error: expect.any(String) });
}, 60_000);
