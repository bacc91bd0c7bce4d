import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { AgentName } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { newStage, SYNC_BY_HAND } from "./harness/stage.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const AGENT = "todo" as AgentName;

/** Every file under a folder in which these bytes are. */
async function filesWith(folder: string, bytes: Buffer): Promise<string[]> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const found: string[] = [];
  for (const file of files.filter((one) => one.isFile())) {
    const name = path.join(file.parentPath, file.name);
    if ((await readFile(name)).includes(bytes)) found.push(path.relative(folder, name));
  }
  return found;
}

test("forget leaves the bytes in no file of the home, and pushes none", async () => {
  const daemon = await stage.daemon(SYNC_BY_HAND);
  await stage.register(daemon, AGENT);
  const admin = await stage.admin(daemon);
  const { kv, vectors } = await stage.sdk(daemon, AGENT);
  const secret = Buffer.from("a secret that nobody may find again, in no file of this home");
  const large = Buffer.concat([Buffer.alloc(100_000, "large "), secret, Buffer.alloc(100_000, "more ")]);
  await kv.put("/people/ann", secret);
  await kv.put("/people/ann/file", large);
  await kv.put("/people/ann", "something else");
  for (let i = 0; i < 200; i++) await kv.put(`/k${i % 20}`, `${i}`);
  const vector = [0.123_456_789, 1, -2];
  await vectors.put("/people/ann", vector, { metadata: { note: secret.toString() } });
  await vectors.search(vector);
  expect((await filesWith(daemon.home, secret)).length).toBeGreaterThan(1);

  const wire = await stage.wire(daemon, AGENT);
  for (const operation of ["forget", "gc"]) {
    await expect(ask(wire, `vlinder.v1.${AGENT}.timeline.${operation}`, { run: true }, 2_000)).rejects.toMatchObject({
      code: "PERMISSIONS_VIOLATION",
    });
  }
  const dry = await admin.request(AGENT, "timeline.forget", { prefix: "/people/ann" });
  expect(dry).toMatchObject({ state: null, keys: 3, values: 4, kept: [] });
  const reply = await admin.request(AGENT, "timeline.forget", { prefix: "/people/ann", run: true });
  expect(reply).toMatchObject({ keys: 3, values: 4, notes: [] });
  expect(await filesWith(daemon.home, secret)).toEqual([]);
  await expect(kv.get("/people/ann")).rejects.toMatchObject({ code: "erased" });
  await expect(vectors.get("/people/ann")).rejects.toMatchObject({ code: "erased" });
  expect(await vectors.search(vector)).toEqual([]);
  expect(await admin.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true, damage: [] });

  const bucket = await stage.path("bucket");
  await admin.admin("sync.init", { uri: pathToFileURL(bucket).href });
  expect((await admin.admin("sync.push", {})).agents).toMatchObject([{ error: null }]);
  const other = await stage.daemon(SYNC_BY_HAND);
  const there = await stage.admin(other);
  await there.admin("sync.init", { uri: pathToFileURL(bucket).href });
  expect((await there.admin("sync.pull", {})).agents).toMatchObject([{ agent: AGENT, error: null }]);
  await expect(there.request(AGENT, "kv.get", { key: "/people/ann" })).rejects.toMatchObject({ code: "erased" });
  expect(await there.request(AGENT, "timeline.verify", {})).toMatchObject({ ok: true });

  // The other way round: what is in the bucket already is owed, and said.
  await there.request(AGENT, "kv.put", { key: "/later", value: "pushed before it was forgotten" });
  await there.admin("sync.push", {});
  const owed = await there.request(AGENT, "timeline.forget", { key: "/later", run: true });
  expect(owed.notes[0]).toContain("1 packs");
  expect((await there.admin("sync.status")).agents[0]?.notes.join()).toContain("erased");
  await there.admin("sync.push", {});
  await admin.admin("sync.pull", {});
  await expect(admin.request(AGENT, "kv.get", { key: "/later" })).rejects.toMatchObject({ code: "erased" });
});

test("limits of agent.toml and of config.toml hold, also after a restart", async () => {
  const daemon = await stage.daemon('[limits]\nstorage = "1MB"');
  await stage.register(daemon, "small", 'object_storage = "sqlite://objects.db"\n[limits]\nstorage = "400kB"\n');
  await stage.register(daemon, "default", 'object_storage = "sqlite://objects.db"\n');
  const admin = await stage.admin(daemon);
  const small = await stage.sdk(daemon, "small");
  const other = await stage.sdk(daemon, "default");
  const fill = async ({ kv }: typeof small): Promise<number> => {
    for (let i = 0; ; i++) {
      try {
        await kv.put(`/k${i}`, Buffer.alloc(30_000, `${i} `));
      } catch (error) {
        expect(error).toMatchObject({ code: "quota_exceeded", retryable: false });
        return i;
      }
    }
  };
  const [few, more] = [await fill(small), await fill(other)];
  expect(few).toBeGreaterThan(3);
  expect(more).toBeGreaterThan(few);
  expect(await small.kv.get("/k0")).not.toBe(null);
  await small.kv.delete("/k0");
  const status = await admin.admin("daemon.status");
  expect(status.agents.map(({ agent, limit }) => [agent, limit])).toEqual([
    ["default", 1_000_000],
    ["small", 400_000],
  ]);
  await daemon.stop();
  await daemon.start();
  await expect(small.kv.put("/more", Buffer.alloc(300_000))).rejects.toMatchObject({ code: "quota_exceeded" });
  expect(await small.kv.get("/k1")).not.toBe(null);
});
