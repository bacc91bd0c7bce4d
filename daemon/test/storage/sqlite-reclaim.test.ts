import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { backupPath } from "../../src/storage/backends/sqlite/migrate.ts";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { openObjectStorage } from "../../src/storage/objects.ts";
import { noise } from "../state/property.ts";
import { hashOf, objects, openSqlite, temporaryFolder } from "./samples.ts";

test("the file shrinks by steps, and what was removed is in no file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-reclaim-"));
  const path = join(folder, "objects.db");
  const storage = await openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "disk" });
  try {
    const secret = Buffer.from("the secret that must go");
    const values = Array.from({ length: 500 }, (_, i) => Buffer.concat([noise(i, 8000), secret]));
    await storage.apply(objects(...values.map((bytes) => ({ kind: "value" as const, hash: hashOf(bytes), bytes }))));
    const before = (await storage.usage()).bytes;
    await storage.remove("value", values.map(hashOf));
    let steps = 0;
    while ((await storage.reclaim(256 * 1024)) > 0) steps++;
    expect(steps).toBeGreaterThan(8);
    expect((await storage.usage()).bytes).toBeLessThan(before / 10);
    expect((await stat(path)).size).toBeLessThan(before / 10);
    for (const file of [path, `${path}-wal`]) expect((await readFile(file)).includes(secret)).toBe(false);
  } finally {
    await storage.close();
    await rm(folder, { recursive: true });
  }
});

test("bytes of a removed node go when no delta rests on them any more", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const storage = await openSqlite(path);
  const base = noise(1, 3000);
  const versions = [base, ...[1, 2, 3].map((n) => Buffer.concat([Buffer.from(`${n}`.repeat(40)), base.subarray(40)]))];
  const nodes = versions.map((bytes, i): StoredObject => {
    const like = i === 0 ? {} : { like: hashOf(base) };
    return { kind: "node", hash: hashOf(bytes), bytes, ...like };
  });
  for (const node of nodes) await storage.apply(objects(node));
  const reclaimed = async (): Promise<boolean> => {
    while ((await storage.reclaim(1 << 20)) > 0);
    return !(await readFile(path)).includes(base.subarray(100, 2000));
  };
  await storage.remove("node", [hashOf(base), nodes[1]?.hash ?? hashOf("")]);
  expect(await reclaimed()).toBe(false);
  const left = await storage.read("node", [nodes[2]?.hash ?? hashOf(""), nodes[3]?.hash ?? hashOf("")]);
  expect(left.map((bytes) => hashOf(bytes ?? ""))).toEqual([nodes[2]?.hash, nodes[3]?.hash]);
  await storage.remove("node", [nodes[2]?.hash ?? hashOf(""), nodes[3]?.hash ?? hashOf("")]);
  expect(await reclaimed()).toBe(true);
  // What is stored again rests on nothing that is gone.
  for (const node of nodes) await storage.apply(objects(node));
  const again = await storage.read(
    "node",
    nodes.map(({ hash }) => hash),
  );
  expect(again.map((bytes) => hashOf(bytes ?? ""))).toEqual(nodes.map(({ hash }) => hash));
  await storage.close();
});

test("copies of a migration are deleted, and nothing else", async () => {
  const folder = await temporaryFolder();
  const path = join(folder, "objects.db");
  const storage = await openSqlite(path);
  const others = ["objects.db.bak", "other.db.v1-backup", "objects.db.v1-backup.mine"];
  const copies = [backupPath(path, 1), `${backupPath(path, 12)}.partial`];
  for (const file of [...others.map((name) => join(folder, name)), ...copies]) await writeFile(file, "a secret");
  expect(await storage.dropCopies?.()).toEqual(copies);
  expect(await storage.dropCopies?.()).toEqual([]);
  await storage.close();
  expect(await readdir(folder)).toEqual(["objects.db", ...others].sort());
});
