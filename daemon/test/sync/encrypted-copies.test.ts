import { randomBytes } from "node:crypto";
import { createReadStream, existsSync, readdirSync } from "node:fs";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Decrypter, Encrypter } from "age-encryption";
import Database from "better-sqlite3";
import { type AgentName, type DatabasesMode, sha256 } from "@vlinder/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { openFileBucket } from "../../src/sync/buckets/file.ts";
import { downloadCopy } from "../../src/sync/databases/copy-download.ts";
import { copyDatabases, type CopyJob } from "../../src/sync/databases/copy-job.ts";
import { DatabaseCopies } from "../../src/sync/databases/database-copies.ts";
import { SyncState } from "../../src/sync/sync-state.ts";
import { sealLargeFile } from "../../src/sync/vault/age-large.ts";
import { deviceFromSeed } from "../../src/sync/vault/device.ts";
import { newIdentity, recipientOf } from "../../src/sync/vault/keys.ts";
import { sealerOf } from "../../src/sync/vault/sealer.ts";
import type { Vault, VaultId } from "../../src/sync/vault/vault.ts";
import { listed } from "./hub.ts";
import { Machine, newDevice, tempBucket, tempFolder, TODO } from "./machine.ts";
import { makeDatabase, rowsOf, type TestDatabase } from "./test-database.ts";
import { wrapped } from "./wrapped-bucket.ts";

const CHUNK = 64 * 1024;
const MB = 1 << 20;
const identity = await newIdentity();
const recipient = await recipientOf(identity);
const sealer = sealerOf(recipient, [identity]);

/** By the age library, which is not ours, with the key of a vault that was opened with the recovery key by it alone. */
async function openedByAge(uri: string, recovery: string, sealed: Buffer): Promise<Buffer> {
  const folder = join(fileURLToPath(uri), "members");
  const statements = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
  const decrypter = new Decrypter();
  for (const statement of statements) {
    const { body } = JSON.parse(statement) as { body: { sealed: string } };
    const reader = new Decrypter();
    reader.addIdentity(recovery);
    const { keys } = JSON.parse(await reader.decrypt(Buffer.from(body.sealed, "base64"), "text")) as { keys: string[] };
    for (const key of keys) decrypter.addIdentity(key);
  }
  return Buffer.from(await decrypter.decrypt(sealed));
}

function openDatabase(path: string): Database.Database {
  const db = new Database(path, { readonly: true });
  onTestFinished(() => void db.close());
  return db;
}

interface Place extends TestDatabase {
  readonly uri: string;
  readonly recovery: string;
  readonly machine: Machine;
  /** What the bucket has of copies. */
  readonly copies: () => Promise<Map<string, Buffer>>;
}

async function founded(mode: DatabasesMode = "turn"): Promise<Place> {
  const { path, db } = await makeDatabase(300_000);
  const machine = await Machine.start({ databases: () => ({ mode, files: [{ name: "objects", path }] }) });
  const uri = await tempBucket();
  const { recovery } = await machine.sync.init(uri, { encrypt: true });
  await machine.add();
  const bucket = await openFileBucket(uri, fileURLToPath(uri));
  const copies = async (): Promise<Map<string, Buffer>> => {
    const names = await listed(bucket, "agents/todo/databases/");
    return new Map(await Promise.all(names.map(async (name) => [name, (await bucket.get(name)) as Buffer] as const)));
  };
  return { path, db, uri, recovery: recovery as string, machine, copies };
}

async function letIn(by: Machine, uri: string): Promise<Machine> {
  const machine = await Machine.start();
  const { hash } = await by.sync.vault.add((await machine.sync.vault.request("desk")).request);
  await machine.sync.init(uri, { vault: hash });
  return machine;
}

describe("in an encrypted vault", () => {
  test("a copy is made where somebody has asked for one, nothing of it can be read, and age opens it with the recovery key", async () => {
    const { copies, db, machine, recovery, uri } = await founded();
    await machine.push();
    await machine.sync.copies.copy("nobody" as AgentName);
    const found = await copies();
    expect([...found.keys()].every((name) => name.endsWith(".age"))).toBe(true);
    expect(found.size).toBe(2);
    for (const [name, bytes] of found) {
      expect(bytes.subarray(0, 21).toString()).toBe("age-encryption.org/v1");
      for (const word of ["SQLite", "CREATE TABLE", "todo", "branches"]) expect(bytes.includes(word), name).toBe(false);
    }
    const [[, sealed] = [], [, manifest] = []] = [...found].toSorted(([a]) => (a.includes("/objects-") ? -1 : 1));
    const file = join(await tempFolder(), "objects.db");
    await writeFile(file, await openedByAge(uri, recovery, sealed as Buffer));
    expect(rowsOf(openDatabase(file))).toEqual(rowsOf(db));
    const said = JSON.parse(String(await openedByAge(uri, recovery, manifest as Buffer))) as object;
    expect(said).toMatchObject({ agent: "todo", device: machine.device, files: [{ bytes: sealed?.length }], v: 1 });
    // The plain copy does not stay beside the home's databases.
    expect(await readdir(join(machine.home, "agents", "todo", "copies"))).toEqual([]);
    // The next one takes its place.
    await machine.sync.copies.copy(TODO);
    expect((await copies()).size).toBe(2);
  });

  test("none is made by the default of a kind of bucket", async () => {
    const { path } = await makeDatabase(20_000);
    const home = await tempFolder();
    const state = SyncState.open(join(home, "sync.db"));
    onTestFinished(() => state.close());
    const bucket = await openFileBucket("file:///vault", join(home, "vault"), { create: true });
    const made: string[] = [];
    const of = (isEncrypted: boolean): DatabaseCopies =>
      new DatabaseCopies({
        home,
        device: () => deviceFromSeed(newDevice(), randomBytes(32)),
        now: () => new Date(),
        retries: [],
        log: { info: (_, message) => void made.push(message), warn: (_, message) => void made.push(message) },
        bucket: () => "hf://buckets/me/vault",
        open: async () => ({
          bucket,
          vault: { id: "ab".repeat(16) as VaultId } as Vault,
          sealer: isEncrypted ? sealer : null,
          trust: { check: async () => null, knows: () => true },
        }),
        agents: async () => [TODO],
        source: () => ({ mode: null, files: [{ name: "objects", path }] }),
        agent: async (name) => (name === TODO ? { state, heads: "1" } : null),
      });
    for (const isEncrypted of [true, false]) {
      const copies = of(isEncrypted);
      copies.consider([TODO]);
      await new Promise((resolve) => setImmediate(resolve));
      // It is next when what was set going is done.
      await copies.copy("nobody" as AgentName);
      copies.close();
      expect([isEncrypted, (await listed(bucket)).length, made.length]).toEqual(
        isEncrypted ? [true, 0, 0] : [false, 2, 1],
      );
    }
  });

  test("a member gets it as it was, and one that was taken out gets nothing that came after", async () => {
    const { db, machine: a, uri } = await founded("off");
    const b = await letIn(a, uri);
    await a.sync.copies.copy(TODO);
    const folder = await tempFolder();
    const { agents } = await b.sync.copies.fetch(folder, TODO);
    const path = join(folder, "todo", "objects.db");
    expect(agents).toMatchObject([{ agent: "todo", device: a.device, files: [{ path }], notes: [], error: null }]);
    expect(rowsOf(openDatabase(path))).toEqual(rowsOf(db));
    expect(await readdir(folder)).toEqual(["todo"]);
    expect((await readdir(join(folder, "todo"))).toSorted()).toEqual(["copy.json", "objects.db"]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(agents[0]?.files[0]?.bytes).toBe((await stat(path)).size);

    await a.sync.vault.distrust(b.device);
    await a.sync.copies.copy(TODO);
    await expect(b.sync.copies.fetch(await tempFolder(), TODO)).rejects.toMatchObject({ code: "denied" });
    const again = await tempFolder();
    expect((await a.sync.copies.fetch(again, undefined)).agents).toMatchObject([{ error: null }]);
    expect(existsSync(join(again, "todo", "objects.db"))).toBe(true);
  });

  test("one that a machine has made which is no member any more is not taken", async () => {
    const { path } = await makeDatabase(20_000);
    const { machine: a, uri } = await founded("off");
    const b = await Machine.start({ databases: () => ({ mode: "off", files: [{ name: "objects", path }] }) });
    const { hash } = await a.sync.vault.add((await b.sync.vault.request("desk")).request);
    await b.sync.init(uri, { vault: hash });
    await b.add();
    await b.sync.copies.copy(TODO);
    const fetched = async (): Promise<unknown> => (await a.sync.copies.fetch(await tempFolder(), TODO)).agents[0];
    expect(await fetched()).toMatchObject({ device: b.device, error: null });
    await a.sync.vault.distrust(b.device);
    expect(await fetched()).toMatchObject({
      device: null,
      error: { code: "not_found" },
      notes: [expect.stringMatching(/not trusted/)],
    });
  });
});

const SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 16 * CHUNK, 16 * CHUNK + 1, 33 * CHUNK + 17];

test.each(SIZES)(
  "%d bytes that are encrypted from file to file are opened by the age library, and theirs by us",
  async (size) => {
    const folder = await tempFolder();
    const [source, target, back] = ["plain", "sealed", "back"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const plain = randomBytes(size);
    await writeFile(source, plain);
    const steps: number[] = [];
    const made = sealLargeFile(await sealer.start(), source, target, (done) => void steps.push(done));
    const sealed = await readFile(target);
    expect(made).toEqual({ bytes: sealed.length, sha256: sha256(sealed) });
    expect(steps.at(-1)).toBe(size);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    expect(Buffer.from(await decrypter.decrypt(sealed)).equals(plain)).toBe(true);

    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const theirs = Buffer.from(await encrypter.encrypt(plain));
    const bucket = await openFileBucket("file:///b", join(folder, "bucket"), { create: true });
    await bucket.put([{ path: "x", bytes: theirs }]);
    const job = {
      bucket,
      path: "x",
      file: { bytes: theirs.length, database: "objects", name: "x", sha256: sha256(theirs) },
      target: back,
      sealer,
      retries: [],
      signal: new AbortController().signal,
      onBytes: () => undefined,
    } as const;
    expect(await downloadCopy(job)).toBe(size);
    expect((await readFile(back)).equals(plain)).toBe(true);
  },
);

test("a download asks for slices that fit in memory, whatever the file's size", async () => {
  const folder = await tempFolder();
  const inner = await openFileBucket("file:///b", join(folder, "bucket"), { create: true });
  const plain = randomBytes(20 * MB);
  const bytes = await sealer.seal(plain);
  await inner.put([{ path: "x", bytes }]);
  const asked: number[] = [];
  const bucket = wrapped(inner, {
    get: (path, range) => {
      asked.push((range?.end ?? Infinity) - (range?.start ?? 0));
      return inner.get(path, range);
    },
  });
  const file = { bytes: bytes.length, database: "objects", name: "x", sha256: sha256(bytes) } as const;
  const signal = new AbortController().signal;
  const target = join(folder, "back");
  await downloadCopy({ bucket, path: "x", file, target, sealer, retries: [], signal, onBytes: () => undefined });
  expect(Math.max(...asked)).toBeLessThan(17 * MB);
  let at = 0;
  for await (const part of createReadStream(target)) {
    expect((part as Buffer).equals(plain.subarray(at, at + (part as Buffer).length))).toBe(true);
    at += (part as Buffer).length;
  }
  expect(at).toBe(plain.length);
});

async function jobOf(bytes: number, signal: AbortSignal, progress: CopyJob["progress"]): Promise<CopyJob> {
  return {
    agent: TODO,
    databases: [{ name: "objects", path: (await makeDatabase(bytes)).path }],
    bucket: await openFileBucket("file:///b", join(await tempFolder(), "vault"), { create: true }),
    vault: "ab".repeat(16) as VaultId,
    device: deviceFromSeed(newDevice(), randomBytes(32)),
    folder: join(await tempFolder(), "copies"),
    before: [],
    sealer,
    now: () => new Date(),
    retries: [],
    signal,
    progress,
  };
}

test("encryption is broken off at once, and leaves nothing here and nothing in the bucket", async () => {
  const controller = new AbortController();
  const steps: string[] = [];
  const job = await jobOf(8 * MB, controller.signal, ({ what }) => {
    steps.push(what);
    if (what.startsWith("encrypting")) controller.abort();
  });
  await expect(copyDatabases(job)).rejects.toMatchObject({ message: expect.stringMatching(/broken off/) as string });
  expect(steps.at(-1)).toBe("encrypting objects");
  expect(await readdir(job.folder)).toEqual([]);
  expect(await listed(job.bucket)).toEqual([]);
});

test("the plain copy takes no room while the encrypted one is sent", async () => {
  const beside: string[][] = [];
  const job = await jobOf(20_000, new AbortController().signal, ({ what }) => {
    if (what.startsWith("sending")) beside.push(readdirSync(join(job.folder, "unfinished")));
  });
  await copyDatabases(job);
  expect(beside).toEqual([["objects.db.age"], ["objects.db.age"]]);
});
