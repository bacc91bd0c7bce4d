import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { AgentName, DeviceId } from "@vlinder/protocol";
import { openHfBucket } from "../../../daemon/src/sync/buckets/hf.ts";
import type { Bucket } from "../../../daemon/src/sync/buckets/bucket.ts";
import { type CopyJob, copyDatabases } from "../../../daemon/src/sync/databases/copy-job.ts";
import { deviceFromSeed } from "../../../daemon/src/sync/vault/device.ts";
import type { VaultId } from "../../../daemon/src/sync/vault/vault.ts";
import { report, type RouteTotal } from "../../harness/hub/request-log.ts";
import { HubServer } from "../../harness/hub/server.ts";

const TOKEN = "hf_bench";
/** Of a row. */
const ROW = 1000;

export interface WholeFilePush {
  /** How much of the database was changed before it, in bytes; null: it is the first. */
  readonly changed: number | null;
  /** Where the changed rows were: one after another, or all over the database. */
  readonly where: "together" | "scattered" | null;
  /** Whether the client was told what had been uploaded before. */
  readonly remembers: boolean;
  readonly milliseconds: number;
  readonly routes: readonly RouteTotal[];
}

export interface WholeFilePushOptions {
  /** A folder that may be filled, and is empty. */
  readonly folder: string;
  /** Of the database. */
  readonly bytes: number;
  /** How much is changed before each push. */
  readonly changes: readonly { readonly bytes: number; readonly where: "together" | "scattered" }[];
}

/**
 * What a push of a whole SQLite database costs through the unmodified client of Hugging Face, against the strict Hub: first
 * all of it, then after each change, without and with the memory of what was uploaded before.
 */
export async function measureWholeFilePushes({
  folder,
  bytes,
  changes,
}: WholeFilePushOptions): Promise<WholeFilePush[]> {
  const server = await HubServer.start({
    people: { [TOKEN]: { name: "me", role: "write" } },
    folder: join(folder, "xorbs"),
  });
  const env = { HF_TOKEN: TOKEN, HF_ENDPOINT: server.url };
  const rows = Math.round(bytes / ROW);
  const path = join(folder, "objects.db");
  const db = makeDatabase(path, rows);
  try {
    const pushes: WholeFilePush[] = [];
    for (const remembers of [false, true]) {
      const bucket = await openHfBucket(`hf://buckets/me/${remembers ? "with" : "without"}`, { create: true, env });
      const home = join(folder, remembers ? "with" : "without");
      await mkdir(home);
      for (const change of [null, ...changes]) {
        if (change !== null) update(db, rows, change.bytes / ROW, change.where);
        if (!remembers) await rm(join(home, "objects.sent"), { force: true });
        server.log.take();
        const start = performance.now();
        await copyDatabases(jobOf(bucket, path, home));
        const milliseconds = performance.now() - start;
        const [changed, where] = [change?.bytes ?? null, change?.where ?? null];
        pushes.push({ changed, where, remembers, milliseconds, routes: report(server.log.take()) });
      }
      await bucket.close();
    }
    return pushes;
  } finally {
    db.close();
    await server.close();
  }
}

function makeDatabase(path: string, rows: number): Database.Database {
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB NOT NULL)");
  const insert = db.prepare("INSERT INTO t (x) VALUES (?)");
  db.transaction(() => {
    for (let i = 0; i < rows; i++) insert.run(randomBytes(ROW));
  })();
  return db;
}

function update(db: Database.Database, rows: number, count: number, where: "together" | "scattered"): void {
  const set = db.prepare("UPDATE t SET x = ? WHERE id = ?");
  const first = Math.floor(rows / 3);
  const step = where === "together" ? 1 : Math.floor(rows / Math.max(1, count));
  db.transaction(() => {
    for (let i = 0; i < Math.max(1, Math.round(count)); i++) set.run(randomBytes(ROW), ((first + i * step) % rows) + 1);
  })();
}

function jobOf(bucket: Bucket, path: string, home: string): CopyJob {
  return {
    agent: "bench" as AgentName,
    databases: [{ name: "objects", path }],
    bucket,
    vault: "0".repeat(32) as VaultId,
    device: deviceFromSeed("0".repeat(32) as DeviceId, Buffer.alloc(32)),
    folder: home,
    before: [],
    sealer: null,
    now: () => new Date(),
    retries: [],
    signal: new AbortController().signal,
    progress: () => undefined,
  };
}
