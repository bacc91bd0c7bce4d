import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { MAIN } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Core, openCore } from "../../src/daemon-core.ts";
import { Drills } from "../../src/drill/drills.ts";
import { createLog } from "../../src/observe/log.ts";
import { loadConfig } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";
import { put } from "../state/harness.ts";
import { noise } from "../sync/noise.ts";
import { TODO } from "../sync/machine.ts";

// What only members can read comes back, too: to a machine that has the recovery key, and in a drill, which is nobody new.

const root = await mkdtemp(join(tmpdir(), "vlinder-drill-"));
const cores: Core[] = [];

async function folderFor(name: string): Promise<string> {
  const folder = join(root, name);
  await mkdir(folder);
  return folder;
}

/** A machine with two agents in an encrypted vault, all of it pushed in several packs. */
let a: Core & { readonly path: string };
let bucket: string;
let uri: string;
let recovery: string;

async function openAt(folder: string): Promise<Core & { readonly path: string }> {
  const home = await openHome(folder);
  await writeFile(home.config, '[storage]\ndurability = "process"\n[sync]\nwhen = "manual"\n');
  const core = await openCore({ home, config: await loadConfig(home, {}), log: createLog("silent") });
  cores.push(core);
  return { ...core, path: home.path };
}

async function register(core: Core, name: string): Promise<void> {
  const dir = await folderFor(name);
  await writeFile(join(dir, "agent.toml"), `name = "${name}"\nobject_storage = "sqlite://objects.db"\n`);
  await core.register(dir);
}

const filesIn = async (folder: string): Promise<string[]> => {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found.flatMap((one) => (one.isFile() ? [join(one.parentPath, one.name).slice(folder.length + 1)] : [])).sort();
};

const isMember = (path: string): boolean => path.startsWith("members/");
const membersIn = async (folder: string): Promise<string[]> => (await filesIn(folder)).filter(isMember);

const headOf = (core: Core, name = TODO): string => core.registry.get(name).engine.branch(MAIN).head;

beforeAll(async () => {
  a = await openAt(await folderFor("a"));
  for (const name of ["todo", "notes"]) await register(a, name);
  bucket = await folderFor("bucket");
  uri = pathToFileURL(bucket).href;
  const reply = await a.sync.init(uri, { encrypt: true, name: "laptop" });
  expect(reply.probe.map(({ step }) => step)).toEqual(["write", "look", "list", "read", "read part", "delete", "gone"]);
  expect(reply.notes).toEqual([]);
  recovery = reply.recovery as string;
  for (let i = 0; i < 2; i++) {
    await put(a.registry.get(TODO).engine, { [`/${i}`]: noise(i, 50_000) });
    await a.push();
  }
}, 60_000);

afterAll(async () => {
  for (const core of cores) await core.close();
  await rm(root, { recursive: true, force: true });
});

test("a clone of an encrypted vault needs its recovery key, and has all of it", async () => {
  const b = await openAt(await folderFor("b"));
  const before = await filesIn(bucket);
  const elsewhere = pathToFileURL(await folderFor("elsewhere")).href;
  await expect(b.sync.init(elsewhere, { join: true, key: recovery })).rejects.toMatchObject({ code: "not_found" });
  await expect(b.sync.init(uri, { join: true })).rejects.toMatchObject({ code: "denied" });
  await expect(b.sync.init(uri, { join: true, vault: "0".repeat(32) })).rejects.toMatchObject({ code: "denied" });
  expect(b.sync.bucket).toBeNull();
  expect(await filesIn(bucket)).toEqual(before);
  const joined = await b.sync.init(uri, { join: true, key: recovery, name: "desk" });
  expect(joined).toMatchObject({ created: false, encrypted: true, recovery: null, probe: [] });
  // Only that it belongs there now.
  expect(await filesIn(bucket)).toHaveLength(before.length + 1);
  const told: number[] = [];
  const { agents } = await b.pull(undefined, ({ done, total }) => {
    told.push(done);
    expect(done).toBeLessThanOrEqual(total as number);
  });
  expect(agents).toMatchObject([
    { agent: "notes", created: true, error: null },
    { agent: "todo", created: true, error: null },
  ]);
  expect(told.length).toBeGreaterThanOrEqual(3);
  expect(told).toEqual(told.toSorted((x, y) => x - y));
  expect(headOf(b)).toBe(headOf(a));
  expect((await b.registry.get(TODO).engine.verify()).damaged).toBe(0);

  await put(b.registry.get(TODO).engine, { "/b": "2" });
  const [status] = (await b.schedule.status(TODO)).agents;
  expect(status).toMatchObject({
    heads: [{ device: a.sync.device, n: 2 }],
    branches: [{ branch: "main", device: a.sync.device, relation: "ahead", ahead: 1, behind: 0 }],
  });
}, 60_000);

test("a drill of an encrypted vault reads as this machine, and states nothing", async () => {
  const before = await filesIn(bucket);
  const drills = await Drills.open(a, a.path);
  const kept = join(root, "kept");
  const quiet = (): void => undefined;
  const fine = await drills.run({ keep: kept, progress: quiet });
  expect(fine).toMatchObject({ ok: true, agents: [{ agent: "notes" }, { agent: "todo", here: true, error: null }] });
  expect(fine.agents[1]).toMatchObject({ verified: { damaged: 0 }, branches: [{ result: "equal", ok: true }] });
  expect(await filesIn(bucket)).toEqual(before);

  expect((await a.sync.status()).drill).toMatchObject({ ok: true, failed: [] });

  // The kept home is a machine of its own: its first push lets it in, by the key that it was restored with.
  const other = await openAt(kept);
  expect(other.sync.device).not.toBe(a.sync.device);
  expect((await readFile(join(kept, "sync/device-key"), "utf8")).match(/"device"/g)).toHaveLength(2);
  await put(other.registry.get(TODO).engine, { "/kept": "3" });
  expect((await other.push(TODO)).agents).toMatchObject([{ error: null }]);
  expect(await membersIn(bucket)).toHaveLength(before.filter(isMember).length + 1);
  expect((await a.pull(TODO)).agents).toMatchObject([{ error: null, branches: [{ result: "fast-forward" }] }]);
  expect(headOf(a)).toBe(headOf(other));
}, 90_000);
