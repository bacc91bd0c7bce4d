import { closeSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type Database from "better-sqlite3";
import { StorageFailure } from "./failure.ts";

/** What a person should know of what is done to a database, in a sentence. */
export type Say = (message: string) => void;

/** One step from a version of the schema to the next. */
export interface Migration {
  /** It makes `from + 1` of it. */
  readonly from: number;
  /** What it is for, for the log. */
  readonly what: string;
  /** How much of the disk it needs at once, as a multiple of the file's size: for the log and for what grows. */
  readonly space: number;
  /**
   * Inside a transaction that is the caller's: it begins and ends none, and sets no version. It may be
   * broken off at any point and is then begun again on the database as it was. Rows are to be taken through
   * piece by piece, never held all at once.
   */
  run(db: Database.Database, progress: (done: number, total: number) => void): void;
}

export interface Migrating {
  /** The version that the database is to have. */
  readonly version: number;
  readonly migrations: readonly Migration[];
  readonly say: Say;
  /** For tests: bytes that are free on the disk. */
  readonly free?: (folder: string) => number;
}

/** Beside what migration and copy take, so that a full disk is met before the work and not in it. */
const SPARE_BYTES = 16 * 1024 * 1024;
/** Progress is said at most so often, in milliseconds. */
const SAY_EVERY = 5000;

/**
 * Where the database's file of an older version is kept when it is migrated. Whoever erases data has to
 * erase it there too.
 */
export function backupPath(path: string, version: number): string {
  return `${path}.v${version}-backup`;
}

/**
 * Brings a database of an older version to the one of this release, in one transaction: after a crash at any point it is
 * of the old version, whole, or of the new one. A copy of the old one is made before, durable, and kept.
 * @throws StorageFailure: no way from its version, or not enough space; what a step throws. The database is as it was then
 */
export function migrate(db: Database.Database, options: Migrating): void {
  const { version, migrations, say, free = freeBytes } = options;
  const before = versionOf(db);
  const seen = dataVersion(db);
  const steps = stepsFrom(db, before, version, migrations);
  checkSpace(db, steps, free);
  say(`${db.name} is of version ${before}: bringing it to ${version}, after a copy (${sizeOf(db)} bytes)`);
  const copy = keepCopy(db, before);
  db.exec("BEGIN IMMEDIATE");
  try {
    // Then the copy lacks something.
    if (dataVersion(db) !== seen) throw changedMeanwhile(db);
    for (const step of steps) {
      step.run(db, reporter(`${db.name}: ${step.what}`, say));
      db.pragma(`user_version = ${step.from + 1}`);
    }
    db.exec("COMMIT");
  } finally {
    if (db.inTransaction) db.exec("ROLLBACK");
  }
  // All of it is in the log now, as large as the file.
  db.pragma("wal_checkpoint(TRUNCATE)");
  say(`${db.name} is of version ${version} now; as it was before it is kept in ${copy}, which may be deleted`);
}

export function versionOf(db: Database.Database): number {
  return db.pragma("user_version", { simple: true }) as number;
}

/** Another one when another connection has written. */
function dataVersion(db: Database.Database): unknown {
  return db.pragma("data_version", { simple: true });
}

function stepsFrom(
  db: Database.Database,
  from: number,
  to: number,
  migrations: readonly Migration[],
): readonly Migration[] {
  const steps: Migration[] = [];
  for (let at = from; at < to; at++) {
    const step = migrations.find((one) => one.from === at);
    if (step === undefined) {
      throw new StorageFailure({
        code: "invalid",
        message: `${db.name} has version ${from} of the schema, which this vlinder can't bring to ${to}`,
        remedy: "open it once with a release in between, or bring the agent back from its bucket or a backup",
        retryable: false,
      });
    }
    steps.push(step);
  }
  return steps;
}

/**
 * The file's contents as they are now, beside it. A copy that an earlier try left is replaced: what was written
 * since is not in it. One that was broken off has another name.
 */
function keepCopy(db: Database.Database, version: number): string {
  const copy = backupPath(db.name, version);
  const partial = `${copy}.partial`;
  for (const rest of [partial, `${partial}-journal`]) rmSync(rest, { force: true });
  try {
    // SQLite takes an empty file, and leaves its rights as they are.
    closeSync(openSync(partial, "wx", 0o600));
    db.prepare("VACUUM INTO ?").run(partial);
    syncPath(partial);
    renameSync(partial, copy);
    syncPath(dirname(copy));
    return copy;
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } catch (error) {
    // Some file systems have no fsync of a folder; there, a rename is as durable as it gets.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EINVAL" && code !== "EPERM" && code !== "ENOTSUP") throw error;
  } finally {
    closeSync(file);
  }
}

function checkSpace(db: Database.Database, steps: readonly Migration[], free: (folder: string) => number): void {
  const folder = dirname(db.name);
  // The steps share a transaction, so what one of them needs is not given back before the next.
  const needed = sizeOf(db) * (1 + steps.reduce((sum, { space }) => sum + space, 0)) + SPARE_BYTES;
  const left = free(folder);
  if (left >= needed) return;
  throw new StorageFailure({
    code: "unavailable",
    message: `${db.name} is of version ${versionOf(db)}: to bring it to the one of this release, ${needed} bytes must be free, and ${left} are`,
    remedy: `free space on the disk that holds ${folder}; nothing was changed`,
    retryable: true,
  });
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Of the file with what is in its log. */
function sizeOf(db: Database.Database): number {
  return [db.name, `${db.name}-wal`].reduce(
    (sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

function reporter(what: string, say: Say): (done: number, total: number) => void {
  let next = Date.now() + SAY_EVERY;
  return (done, total) => {
    if (Date.now() < next) return;
    next = Date.now() + SAY_EVERY;
    say(`${what}: ${Math.floor((100 * done) / Math.max(total, 1))} % of ${total}`);
  };
}

function changedMeanwhile(db: Database.Database): StorageFailure {
  return new StorageFailure({
    code: "unavailable",
    message: `another program changed ${db.name} while it was brought to a new version`,
    remedy: "see that only one vlinderd uses this home, and start again",
    retryable: true,
  });
}
