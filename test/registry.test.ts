import { existsSync } from "node:fs";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Client } from "@vlinder/agent-runtime";
import type { AgentName } from "@vlinder/protocol";
import { beforeAll, expect, test } from "vitest";
import { headOf } from "./harness/reading.ts";
import { newStage } from "./harness/stage.ts";
import { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
const OBJECTS = 'object_storage = "sqlite://objects.db"\n';
let daemon: TestDaemon;
let admin: Client;

beforeAll(async () => {
  daemon = await stage.daemon();
  admin = await stage.admin(daemon);
});

/** Every file below a folder, with its size and time: what writing would change. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  const seen = files.map(async (file) => `${file} ${(await stat(file)).size} ${(await stat(file)).mtimeMs}`);
  return (await Promise.all(seen)).toSorted();
}

test("what is not declared is refused, and what is declared later is served", async () => {
  const dir = await stage.agentFolder("plain", OBJECTS);
  await admin.admin("agents.register", { dir });
  const plain = await stage.sdk(daemon, "plain");
  await plain.kv.put("/k", "v");
  const head = await headOf(admin, "plain");
  await expect(plain.vectors.put("/v", [1, 2, 3])).rejects.toMatchObject({ code: "not_declared" });
  await expect(plain.vectors.search([1, 2, 3])).rejects.toMatchObject({ code: "not_declared" });
  for (const operation of ["vector.get", "vector.delete"] as const) {
    await expect(admin.request(plain.agent, operation, { key: "/v" })).rejects.toMatchObject({ code: "not_declared" });
  }
  expect(await headOf(admin, "plain")).toBe(head);

  await writeFile(path.join(dir, "agent.toml"), `name = "plain"\n${OBJECTS}vector_storage = "sqlite://vectors.db"\n`);
  const reply = await admin.admin("agents.register", { dir });
  expect(reply).toMatchObject({ result: "updated" });
  const shown = await admin.request(plain.agent, "timeline.show", { ref: reply.state });
  expect(shown).toMatchObject({ event: { kind: "contract" }, parents: [head], contract: reply.contract, keys: 1 });
  await plain.vectors.put("/v", [1, 2, 3]);
  expect((await plain.vectors.search([1, 2, 3])).map(({ key }) => key)).toEqual(["/v"]);
  expect((await plain.kv.get("/k"))?.text()).toBe("v");
});

test("an agent that nobody registered is not served", async () => {
  await expect(admin.request("nobody" as AgentName, "kv.get", { key: "/k" })).rejects.toMatchObject({
    code: "not_registered",
  });
});

test("plan says what register would do, and writes nothing", async () => {
  // A home without agents: what a daemon still does for one after its reply would be seen as a change.
  const empty = await stage.daemon();
  const asked = await stage.admin(empty);
  const dir = await stage.agentFolder("planned");
  const before = await filesOf(empty.home);
  const plan = await asked.admin("agents.plan", { dir });
  expect(plan).toMatchObject({ agent: "planned", registered: false });
  expect(plan.steps.map(({ what }) => what)).toEqual(
    expect.arrayContaining(["create object storage", "create vector storage"]),
  );
  const unlogged = (files: string[]): string[] => files.filter((file) => !file.includes("nats-server.log"));
  expect(unlogged(await filesOf(empty.home))).toEqual(unlogged(before));

  const { contract, creds } = await asked.admin("agents.register", { dir });
  expect(contract).toBe(plan.contract);
  expect((await stat(creds)).mode & 0o777).toBe(0o600);
  for (const file of ["objects.db", "vectors.db"]) {
    const bytes = await readFile(path.join(empty.home, "agents", "planned", file));
    expect(bytes.subarray(0, 15).toString(), `${file} is there with its schema`).toBe("SQLite format 3");
  }
  expect(await asked.admin("agents.plan", { dir })).toMatchObject({ registered: true, steps: [] });
  expect(await asked.admin("agents.register", { dir })).toMatchObject({ result: "unchanged" });
});

test("an edited agent.toml is taken over as a contract commit", async () => {
  const dir = await stage.agentFolder("edited");
  const before = await admin.admin("agents.register", { dir });
  const file = path.join(dir, "agent.toml");
  await writeFile(file, `${await readFile(file, "utf8")}\n[merge]\n"/logs/" = "newest"\n`);
  const after = await admin.admin("agents.register", { dir });
  expect(after.result).toBe("updated");
  const commit = await admin.request("edited" as AgentName, "timeline.show", { ref: after.state });
  expect(commit).toMatchObject({ event: { kind: "contract" }, parents: [before.state], contract: after.contract });
  expect(after.contract).not.toBe(before.contract);
});

test.each([
  ["another storage URI", "moved", 'object_storage = "sqlite://elsewhere.db"\n', "conflict", /agent\.toml:2:/],
  [
    "a merge policy that this release lacks",
    "moved",
    `${OBJECTS}[merge]\n"/" = "by-weekday"\n`,
    "invalid",
    /agent\.toml:4:/,
  ],
  ["an unknown key", "moved", `${OBJECTS}colour = "red"\n`, "invalid", /agent\.toml:3:1/],
  ["an invalid name", "No*Name", OBJECTS, "invalid", /agent\.toml:1:/],
  ["a reserved name", "admin", OBJECTS, "invalid", /agent\.toml:1:/],
  ["TOML that isn't", "moved", "object_storage = \n", "invalid", /agent\.toml:/],
])("%s is refused, with its place and a remedy", async (_what, name, declares, code, place) => {
  const dir = await stage.agentFolder("moved", OBJECTS);
  const registered = await admin.admin("agents.register", { dir }).catch(() => null);
  await writeFile(path.join(dir, "agent.toml"), `name = "${name}"\n${declares}`);
  const refused: unknown = await admin.admin("agents.register", { dir }).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code, message: expect.stringMatching(place), remedy: expect.any(String) });
  await expect(admin.admin("agents.plan", { dir })).rejects.toMatchObject({ code });
  if (registered !== null) {
    expect(await headOf(admin, "moved")).toBe(registered.state);
    await admin.admin("agents.remove", { agent: "moved", purge: true });
  }
});

test("the same name from another folder is refused", async () => {
  await stage.register(daemon, "twice");
  await expect(stage.register(daemon, "twice")).rejects.toMatchObject({ code: "conflict" });
});

test("remove keeps the data and ends the credentials; purge, also later, deletes it", async () => {
  const { creds, storage } = await stage.register(daemon, "leaving");
  const agent = await stage.sdk(daemon, "leaving");
  const { state } = await agent.kv.put("/k", "v");
  await agent.close();
  const folder = path.join(daemon.home, "agents", "leaving");
  expect(await admin.admin("agents.remove", { agent: "leaving" })).toEqual({
    agent: "leaving",
    purged: false,
    kept: folder,
  });
  expect(storage.objects).toContain("objects.db");
  expect([existsSync(creds), existsSync(path.join(folder, "objects.db"))]).toEqual([false, true]);
  await expect(admin.request(agent.agent, "kv.get", { key: "/k" })).rejects.toMatchObject({ code: "not_registered" });
  await expect(admin.admin("agents.remove", { agent: "leaving" })).rejects.toMatchObject({ code: "not_registered" });

  // Added again, what was kept is taken up.
  const again = await stage.register(daemon, "leaving");
  expect(again.notes.join()).toContain("taken up again");
  expect(await admin.request(agent.agent, "kv.get", { key: "/k" })).toMatchObject({ state });

  await admin.admin("agents.remove", { agent: "leaving" });
  expect(await admin.admin("agents.remove", { agent: "leaving", purge: true })).toEqual({
    agent: "leaving",
    purged: true,
    kept: null,
  });
  expect(existsSync(path.join(folder, "objects.db"))).toBe(false);
  await stage.register(daemon, "leaving");
  await expect(admin.request(agent.agent, "kv.get", { key: "/k" })).rejects.toMatchObject({ code: "not_found" });
});

test("a second daemon on the same home is refused, and the first goes on", async () => {
  const second = new TestDaemon(daemon.home);
  await expect(second.start()).rejects.toThrow(/another vlinderd \(pid \d+.*what to do/s);
  expect(await second.exited()).toBe(1);
  expect(await admin.admin("daemon.status")).toMatchObject({ pid: daemon.pid });
});

test("a restart keeps agents, credentials, keys and vectors; a damaged agent does not keep the others", async () => {
  await stage.register(daemon, "kept");
  const kept = await stage.sdk(daemon, "kept");
  const { state } = await kept.kv.put("/k", "v");
  await kept.vectors.put("/v", [1, 2, 3], { metadata: { a: 1 } });
  await stage.register(daemon, "broken");
  const [before, creds] = [await headOf(admin, "kept"), await readFile(daemon.agentCreds("kept"), "utf8")];
  expect(await daemon.stop()).toBe(0);
  await writeFile(path.join(daemon.home, "agents", "broken", "objects.db"), "this is no database".repeat(500));
  await daemon.start();

  const { items } = await admin.admin("agents.list");
  expect(items.find(({ agent }) => agent === "kept")).toMatchObject({
    error: null,
    keys: 1,
    vectors: 1,
    state: before,
  });
  expect(items.find(({ agent }) => agent === "broken")?.error).toMatchObject({ code: expect.any(String) });
  expect(await headOf(admin, "kept")).toBe(before);
  expect((await kept.kv.get("/k"))?.state).toBe(before);
  expect((await kept.at(state).kv.get("/k"))?.text()).toBe("v");
  expect(await kept.vectors.search([1, 2, 3])).toMatchObject([{ key: "/v", metadata: { a: 1 } }]);
  expect(await readFile(daemon.agentCreds("kept"), "utf8")).toBe(creds);

  // What can't be served can be removed.
  expect(await admin.admin("agents.remove", { agent: "broken", purge: true })).toMatchObject({ purged: true });
});
