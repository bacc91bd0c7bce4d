import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { type AgentName, type DatabasesMode, MAIN } from "@vlinder/protocol";
import { expect, it, onTestFinished } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import { report } from "../../../test/harness/hub/request-log.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { openObjectStorage } from "../../src/storage/objects.ts";
import { MemoryShelf } from "../../src/storage/quarantine-shelf.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { openFileBucket } from "../../src/sync/buckets/file.ts";
import { copyDatabases, type CopyJob } from "../../src/sync/databases/copy-job.ts";
import { SentMap } from "../../src/sync/databases/sent-map.ts";
import { deviceFromSeed } from "../../src/sync/vault/device.ts";
import type { VaultId } from "../../src/sync/vault/vault.ts";
import { TestClock } from "../state/harness.ts";
import { openHome, put, stateAt } from "../state/retention-harness.ts";
import { FaultyBucket, Killed } from "./faulty-bucket.ts";
import { type Hub, listed, startHub } from "./hub.ts";
import { add, makeDatabase, rowsOf } from "./test-database.ts";
import { Machine, newDevice, tempBucket, tempFolder, TODO } from "./machine.ts";

const MB = 1 << 20;
const FOLDER = "agents/todo/databases/";

function jobOf(bucket: Bucket, path: string, home: string, more: Partial<CopyJob> = {}): CopyJob {
  return {
    agent: TODO,
    databases: [{ name: "objects", path }],
    bucket,
    vault: "ab".repeat(16) as VaultId,
    device: deviceFromSeed(DEVICE, randomBytes(32)),
    folder: join(home, "copies"),
    before: [],
    sealer: null,
    now: () => new Date(),
    retries: [0, 0],
    signal: new AbortController().signal,
    progress: () => undefined,
    ...more,
  };
}

const DEVICE = newDevice();

/** Opens what the bucket has, as somebody would who has downloaded it. */
async function download(bucket: Bucket, path: string): Promise<Database.Database> {
  const folder = await tempFolder();
  const file = join(folder, "downloaded.db");
  await writeFile(file, (await bucket.get(path)) as Buffer, { mode: 0o400 });
  const db = new Database(file, { readonly: true });
  onTestFinished(() => void db.close());
  expect(existsSync(`${file}-wal`)).toBe(false);
  return db;
}

/** Bytes of content that were sent. */
function xorbBytes(hub: Hub): number {
  return report(hub.server.log.take()).find(({ route }) => route === "POST xorbs")?.up ?? 0;
}

it("puts a copy into a Hub that opens with SQLite and has the same rows, and sends only what changed the next time", async () => {
  const hub = await startHub();
  const bucket = await hub.open();
  const home = await tempFolder();
  const { path, db } = await makeDatabase(10 * MB);
  const job = jobOf(bucket, path, home);

  const first = await copyDatabases(job);
  const whole = xorbBytes(hub);
  expect(whole).toBeGreaterThan(10 * MB);
  expect((await listed(bucket)).toSorted()).toEqual(first.files.map((file) => file.path).toSorted());

  db.prepare("UPDATE t SET x = ? WHERE id = 5000").run(randomBytes(1000));
  const second = await copyDatabases(job);
  expect(xorbBytes(hub)).toBeLessThan(300_000);

  const [file, manifest] = second.files;
  const copy = await download(bucket, file?.path ?? "");
  expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(rowsOf(copy)).toEqual(rowsOf(db));
  // The one before is gone.
  expect((await listed(bucket)).toSorted()).toEqual(second.files.map((one) => one.path).toSorted());
  const said = JSON.parse(String(await bucket.get(manifest?.path ?? ""))) as Record<string, unknown>;
  expect(said).toMatchObject({
    agent: "todo",
    v: 1,
    time: second.time,
    files: [{ database: "objects", bytes: file?.bytes }],
  });

  // An append changes page 1, which is in the first chunk: the only one that the client asks for.
  add(db, 100);
  await copyDatabases(job);
  expect(xorbBytes(hub)).toBeLessThan(700_000);
});

it("sends all once when the memory of what was sent is lost, and when it is not true any more", async () => {
  const hub = await startHub();
  hub.forgive();
  const bucket = await hub.open();
  const home = await tempFolder();
  const { path, db } = await makeDatabase(MB);
  const change = async (row: number): Promise<"all" | "little"> => {
    hub.server.log.take();
    db.prepare("UPDATE t SET x = ? WHERE id = ?").run(randomBytes(1000), row);
    await copyDatabases(jobOf(bucket, path, home));
    return xorbBytes(hub) > MB ? "all" : "little";
  };
  expect([await change(100), await change(200)]).toEqual(["all", "little"]);
  await rm(join(home, "copies", "objects.sent"));
  expect([await change(300), await change(400)]).toEqual(["all", "little"]);
  // The service has collected it: what relies on it is refused, and all is sent, once, within the same copy.
  hub.server.cas.collect();
  expect([await change(500), await change(600)]).toEqual(["all", "little"]);
  expect(hub.server.log.entries.some(({ status }) => status === 400)).toBe(false);
});

it("a refusal that has nothing to do with the memory of what was sent does not make it send all", async () => {
  const hub = await startHub();
  const bucket = await hub.open();
  const home = await tempFolder();
  const { path, db } = await makeDatabase(MB);
  const job = jobOf(bucket, path, home, { retries: [] });
  await copyDatabases(job);
  add(db, 1);
  hub.server.log.take();
  hub.server.faults.inject("POST shards", { kind: "status", status: 403 });
  await expect(copyDatabases(job)).rejects.toMatchObject({ code: "denied" });
  await copyDatabases(job);
  expect(xorbBytes(hub)).toBeLessThan(MB / 2);
});

/** A shard's records of a xorb with so many chunks of 64 KiB. */
function xorbOf(chunks: number): [string, Buffer] {
  const records = Buffer.alloc(48 * (chunks + 1), randomBytes(48));
  records.writeUInt32LE(chunks, 36);
  records.writeUInt32LE(chunks << 16, 40);
  return [records.toString("hex", 0, 32), records];
}

it("keeps what was sent in a file, and takes one that is damaged or about another place for none", async () => {
  const file = join(await tempFolder(), "objects.sent");
  const xorbs = new Map([xorbOf(3), xorbOf(1), xorbOf(0)]);
  await new SentMap(file).keep("here", { xorbs, stretches: 3, bytes: 4 * MB });
  expect(await new SentMap(file).recall("here")).toEqual(xorbs);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await new SentMap(file).recall("there")).toEqual(new Map());
  const bytes = await readFile(file);
  for (let at = 0; at < bytes.length; at += 11) {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(file, damaged);
    expect((await new SentMap(file).recall("here")).size, `byte ${at}`).toBe(0);
    writeFileSync(file, bytes.subarray(0, at));
    expect((await new SentMap(file).recall("here")).size, `cut at ${at}`).toBe(0);
  }
});

it("forgets what was sent when the copy lies scattered over it, and that has spared as much as sending it costs", async () => {
  const map = new SentMap(join(await tempFolder(), "objects.sent"));
  const sent = async (bytes: number, stretches: number): Promise<boolean> => {
    await map.recall("here");
    await map.keep("here", { xorbs: new Map([xorbOf(1)]), stretches, bytes });
    return (await map.recall("here")).size === 0;
  };
  const times: boolean[] = [];
  for (let i = 0; i < 13; i++) times.push(await sent(i % 6 === 0 ? 50 * MB : 10 * MB, i === 0 ? 1 : 100));
  expect(times.flatMap((forgot, i) => (forgot ? [i] : []))).toEqual([5, 11]);
  await map.drop();
  expect([await sent(50 * MB, 1), await sent(200 * MB, 40)]).toEqual([false, false]);
});

it("a writer goes on during a copy, which is of one moment", async () => {
  const bucket = await openFileBucket("file:///bucket", join(await tempFolder(), "vault"), { create: true });
  const { path, db } = await makeDatabase(4 * MB);
  const before = rowsOf(db).count;
  let written = 0;
  const insert = db.prepare("INSERT INTO t (x) VALUES (?)");
  const writing = setInterval(() => {
    insert.run(randomBytes(1000));
    insert.run(randomBytes(1000));
    written += 2;
    if (written % 20 === 0) db.pragma("wal_checkpoint(PASSIVE)");
  }, 1);
  onTestFinished(() => clearInterval(writing));
  const { files } = await copyDatabases(jobOf(bucket, path, await tempFolder()));
  clearInterval(writing);
  expect(written).toBeGreaterThan(0);
  const copy = await download(bucket, files[0]?.path ?? "");
  expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
  const { count, hash } = rowsOf(copy);
  expect(count).toBeGreaterThanOrEqual(before);
  db.prepare("DELETE FROM t WHERE id > ?").run(count);
  expect(rowsOf(db)).toEqual({ count, hash });
});

it("killed at any step, it leaves a whole copy in the bucket, the old or the new one, and what others put there", async () => {
  const root = join(await tempFolder(), "vault");
  const bucket = await openFileBucket("file:///bucket", root, { create: true });
  const home = await tempFolder();
  const { path, db } = await makeDatabase(50_000);
  const foreign = [`${FOLDER}notes.txt`, `${FOLDER}${DEVICE}/mine.db`, `${FOLDER}${newDevice()}/objects-x.db`];
  await bucket.put(foreign.map((name) => ({ path: name, bytes: Buffer.from("mine") })));
  await copyDatabases(jobOf(bucket, path, home));
  let newest = 0;
  // Before a step is nearly the same as after the one before.
  for (const kind of IS_LONG ? (["kill after", "kill before"] as const) : (["kill after"] as const)) {
    for (let step = 1; ; step++) {
      add(db, 1);
      const faulty = new FaultyBucket(bucket, ({ n }) => (n === step ? kind : "fine"));
      const done = await copyDatabases(jobOf(faulty, path, home)).catch((error: unknown) => error);
      if (faulty.fired === 0) break;
      if (done instanceof Error) expect(done).toBeInstanceOf(Killed);
      const names = await listed(bucket, `${FOLDER}${DEVICE}/`);
      const manifests = names.filter((name) => name.includes("/copy-"));
      expect(manifests.length, faulty.trace.join("\n")).toBeGreaterThan(0);
      let found = 0;
      for (const manifest of manifests) {
        const { files } = JSON.parse(String(await bucket.get(manifest))) as {
          files: { name: string; bytes: number }[];
        };
        for (const { name } of files) {
          const copy = await download(bucket, `${FOLDER}${DEVICE}/${name}`);
          expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
          found = Math.max(found, rowsOf(copy).count);
        }
      }
      expect(found, faulty.trace.join("\n")).toBeGreaterThanOrEqual(newest);
      newest = found;
    }
    await copyDatabases(jobOf(bucket, path, home));
    expect(await listed(bucket, `${FOLDER}${DEVICE}/`)).toHaveLength(3);
    newest = rowsOf(db).count;
  }
  for (const name of foreign) expect(String(await bucket.get(name))).toBe("mine");
});

it("a copy of an agent's storage says its branches, and serves in the storage's place", async () => {
  const bucket = await openFileBucket("file:///bucket", join(await tempFolder(), "vault"), { create: true });
  const folder = await tempFolder();
  const open = async (path: string): Promise<StateEngine> =>
    openHome({
      storage: await openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "process" }),
      shelf: new MemoryShelf(),
      clock: new TestClock(),
    });
  const engine = await open(join(folder, "objects.db"));
  for (let i = 0; i < 20; i++) await put(engine, `/${i}`, `value ${i}`);
  const last = await put(engine, "/last", "1");
  const { files } = await copyDatabases(jobOf(bucket, join(folder, "objects.db"), folder));
  await put(engine, "/later", "1");
  const manifest = JSON.parse(String(await bucket.get(files[1]?.path ?? ""))) as { branches: unknown };
  expect(manifest.branches).toEqual([{ head: last, id: engine.branch(MAIN).id, name: "main" }]);

  const restored = join(await tempFolder(), "objects.db");
  await writeFile(restored, (await bucket.get(files[0]?.path ?? "")) as Buffer);
  const again = await open(restored);
  expect((await again.verify()).damage).toEqual([]);
  expect(again.branch(MAIN).head).toBe(last);
  expect(await stateAt(again, last)).toEqual(await stateAt(engine, last));
  await put(again, "/and so on", "1");
  expect(existsSync(`${restored}-wal`)).toBe(true);
  for (const one of [engine, again]) await one.close();
});

it("refuses a damaged database, and leaves the copy that is there", async () => {
  const bucket = await openFileBucket("file:///bucket", join(await tempFolder(), "vault"), { create: true });
  const home = await tempFolder();
  const { path, db } = await makeDatabase(200_000);
  const { files } = await copyDatabases(jobOf(bucket, path, home));
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.close();
  const bytes = await readFile(path);
  bytes.fill(0xff, 4096 * 5, 4096 * 6);
  writeFileSync(path, bytes);
  await expect(copyDatabases(jobOf(bucket, path, home))).rejects.toMatchObject({ code: "unavailable" });
  expect((await listed(bucket)).toSorted()).toEqual(files.map((file) => file.path).toSorted());
  expect(existsSync(join(home, "copies", "unfinished"))).toBe(false);
});

interface Day {
  /** The clock, and what its configuration says; to be changed. */
  readonly told: { time: number; mode: DatabasesMode | null };
  readonly machine: Machine;
  readonly db: Database.Database;
  readonly names: () => Promise<string[]>;
  readonly settled: () => Promise<void>;
}

async function dayOf(uri: string, mode: DatabasesMode | null): Promise<Day> {
  const { path, db } = await makeDatabase(20_000);
  const told = { time: Date.parse("2026-11-26T04:00:00Z"), mode };
  const machine = await Machine.start({
    now: () => new Date(told.time),
    databases: () => ({ mode: told.mode, files: [{ name: "objects", path }] }),
  });
  await machine.add();
  await machine.sync.init(uri);
  const bucket = await openFileBucket(uri, fileURLToPath(uri));
  const names = async (): Promise<string[]> => (await listed(bucket, FOLDER)).filter((name) => name.endsWith(".db"));
  // What a push has set going is done when a copy by hand would be next; of an agent that is not here nothing is copied.
  const settled = async (): Promise<void> => {
    await sleep(10);
    await machine.sync.copies.copy("nobody" as AgentName);
  };
  return { told, machine, db, names, settled };
}

const HOUR = 3_600_000;

it("copies once a day after a push, when something has changed", async () => {
  const day = await dayOf(await tempBucket(), "daily");
  const { machine, names } = day;
  const pushed = async (): Promise<string[]> => {
    await machine.push();
    await day.settled();
    return names();
  };
  const first = await pushed();
  expect(first).toHaveLength(1);
  machine.todo.put("/a", "1");
  day.told.time += 23 * HOUR;
  expect(await pushed()).toEqual(first);
  day.told.time += 2 * HOUR;
  const second = await pushed();
  expect(second).not.toEqual(first);
  // Nothing has changed since.
  day.told.time += 48 * HOUR;
  expect(await pushed()).toEqual(second);
  machine.todo.put("/a", "2");
  expect(await pushed()).not.toEqual(second);
});

it("a copy that fails is a note, not a failed push, and is tried again an hour later", async () => {
  const day = await dayOf(await tempBucket(), "daily");
  const { machine, names, settled } = day;
  machine.wrap = (bucket) => new FaultyBucket(bucket, ({ path }) => (path.includes("databases") ? "refuse" : "fine"));
  expect((await machine.push()).error).toBeNull();
  await settled();
  const noted = async (): Promise<string> => (await machine.sync.status()).agents[0]?.notes.join() ?? "";
  expect(await noted()).toContain("could not be copied");
  expect((await machine.sync.status()).agents[0]).toMatchObject({ error: null });
  machine.wrap = (bucket) => bucket;
  machine.todo.put("/a", "1");
  await machine.push();
  await settled();
  expect(await names()).toEqual([]);
  day.told.time += HOUR;
  await machine.push();
  await settled();
  expect(await names()).toHaveLength(1);
  expect(await noted()).toBe("");
});

it("replaces a copy that holds erased values with the next push, and says so until then", async () => {
  const day = await dayOf(await tempBucket(), "daily");
  const { machine, names, settled } = day;
  await machine.push();
  await settled();
  const first = await names();
  await machine.sync.erased(TODO, []);
  add(day.db, 1);
  expect((await machine.sync.status()).agents[0]?.notes.join()).toContain("holds values that were erased");
  await machine.push();
  await settled();
  expect(await names()).not.toEqual(first);
  expect((await machine.sync.status()).agents[0]?.notes).toEqual([]);
});

it("copies after every push that had something with turn, never by itself with off or in a folder, and by hand always", async () => {
  const day = await dayOf(await tempBucket(), null);
  const { db, machine, names, settled } = day;
  const pushed = async (): Promise<string[]> => {
    machine.todo.put("/a", String(++value));
    add(db, 1);
    await machine.push();
    await settled();
    return names();
  };
  let value = 0;
  expect(await pushed()).toEqual([]);
  day.told.mode = "off";
  expect(await pushed()).toEqual([]);
  // Who asks for one is told, and nothing stays to be read in status later.
  machine.wrap = (bucket) => new FaultyBucket(bucket, ({ method }) => (method === "putFile" ? "refuse" : "fine"));
  expect((await machine.sync.copies.copy(TODO)).agents).toMatchObject([{ error: { code: "denied" } }]);
  expect((await machine.sync.status()).agents).toMatchObject([{ notes: [] }]);
  machine.wrap = (bucket) => bucket;
  const { agents } = await machine.sync.copies.copy(TODO);
  expect(agents).toMatchObject([{ agent: TODO, why: null, error: null }]);
  const byHand = await names();
  expect(byHand).toEqual([agents[0]?.files[0]?.path]);
  day.told.mode = "turn";
  const first = await pushed();
  expect(first).not.toEqual(byHand);
  expect(await pushed()).not.toEqual(first);
  // Another machine, or this one under another id, leaves what is not its own.
  const other = await Machine.start({ databases: () => ({ mode: "off", files: [] }) });
  await other.add();
  await other.sync.init(machine.sync.bucket ?? "");
  expect((await other.sync.copies.copy(TODO)).agents[0]?.why).toContain("no SQLite file");
  expect(await names()).toHaveLength(1);
});

it("ends what is under way when the agent is released", async () => {
  const day = await dayOf(await tempBucket(), "off");
  const { machine } = day;
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
  machine.wrap = (bucket) =>
    Object.assign(Object.create(bucket) as Bucket, {
      uri: bucket.uri,
      get: (path: string) => bucket.get(path),
      close: () => bucket.close(),
      putFile: () => {
        reach();
        return new Promise<void>((_, reject) => {
          closed = () => reject(new Error("closed"));
        });
      },
    });
  let closed = (): void => undefined;
  const copying = machine.sync.copies.copy(TODO);
  await reached;
  const released = machine.sync.release(TODO);
  closed();
  await released;
  expect((await copying).agents[0]?.error?.code).toBeDefined();
  expect((await machine.sync.status()).agents[0]?.notes).toEqual([]);
});
