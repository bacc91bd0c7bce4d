import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, mkdtemp, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import Database from "better-sqlite3";
import { invalid, VlinderError } from "@vlinder/protocol";
import { EXPECTED, hashColumn, prepareTables, type Unknown, unknownParts } from "./vlindercli-schema.ts";

/** A commit of VlinderCLI's: hashes are hex; `parent` is empty for a first one. */
export interface ForeignCommit {
  readonly hash: string;
  readonly snapshot: string;
  readonly parent: string;
}

/** Rows brought into our own tables at a time: the thread serves others in between. */
const ROWS = 5000;
/** Before all that SQLite gives a row by itself, and by hand. */
const FIRST_ROW = -(2n ** 63n);

/**
 * The `state.db` of a VlinderCLI agent or session: values and snapshots by SHA-256, commits with one parent. Nothing
 * here is trusted: who reads checks the hashes.
 *
 * It works on a copy, with the log that may lie beside the file: so the file is not touched at all, and the copy can have
 * an index and the marks that keep what is held in memory small.
 */
export class VlinderCliSource {
  /** What the file has besides what is known of it. */
  readonly unknown: Unknown;
  readonly #db: Database.Database;
  readonly #folder: string;
  readonly #statements;

  private constructor(db: Database.Database, folder: string, unknown: Unknown) {
    this.#db = db;
    this.#folder = folder;
    this.unknown = unknown;
    this.#statements = prepareReads(db);
  }

  /** @param scratch a folder for the copy @throws not_found, denied, invalid: not such a file; unavailable: in use */
  static async open(path: string, scratch: string): Promise<VlinderCliSource> {
    const folder = await mkdtemp(join(scratch, "vlindercli-"));
    try {
      const copy = join(folder, "state.db");
      await copyDatabase(path, copy);
      const db = new Database(copy);
      try {
        const unknown = unknownParts(db, path);
        prepareTables(db);
        await takeCommits(db);
        return new VlinderCliSource(db, folder, unknown);
      } catch (error) {
        db.close();
        throw error;
      }
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw sourceError(error, path);
    }
  }

  async close(): Promise<void> {
    this.#db.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  counts(): { readonly commits: number; readonly snapshots: number; readonly values: number } {
    return this.#statements.counts.get() as { commits: number; snapshots: number; values: number };
  }

  /** The newest commit that no other builds on, and all before it, which are marked as the main line. Null: there is none. */
  markMainLine(): string | null {
    const newest = this.#statements.newestLeaf.get();
    for (let at = newest; at !== undefined && this.#statements.addToLine.run(at).changes > 0;) {
      at = this.#statements.commit.get(at)?.parent;
    }
    return newest ?? null;
  }

  isOnMainLine(hash: string): boolean {
    return this.#statements.onLine.get(hash) !== undefined;
  }

  /** Commits with no parent here, oldest first: first ones, and those whose parent is missing. */
  roots(): ForeignCommit[] {
    return this.#statements.roots.all();
  }

  /** Oldest first. */
  children(hash: string): ForeignCommit[] {
    return this.#statements.children.all(hash);
  }

  /** The text of a snapshot; null when it is not here. */
  snapshot(hash: string): string | null {
    const row = this.#statements.snapshot.get(spellings(hash));
    if (row === undefined) return null;
    this.#statements.useSnapshot.run(hash);
    return typeof row === "string" ? row : Buffer.from(row).toString("utf8");
  }

  /** The bytes under a hash; null when they are not here. */
  value(hash: string): Buffer | null {
    const row = this.#statements.value.get(spellings(hash));
    if (row === undefined) return null;
    return typeof row === "string" ? Buffer.from(row, "utf8") : row;
  }

  /** Marks a value as reached; false when it was before. */
  reach(hash: string): boolean {
    return this.#statements.useValue.run(hash).changes > 0;
  }

  /** How many values, and how many snapshots, nothing has asked for. */
  unreached(): { readonly values: number; readonly snapshots: number } {
    return this.#statements.unreached.get() as { values: number; snapshots: number };
  }
}

/** How a hash may stand in the file. */
function spellings(hash: string): { hash: string; upper: string; bytes: Buffer } {
  return { hash, upper: hash.toUpperCase(), bytes: Buffer.from(hash, "hex") };
}

function prepareReads(db: Database.Database) {
  const missing = "parent = '' OR NOT EXISTS (SELECT 1 FROM import_commit AS p WHERE p.hash = import_commit.parent)";
  // SQLite keeps any type in any column: what is no bytes counts as not there.
  const isBytes = (column: string): string => `typeof(${column}) IN ('text', 'blob')`;
  // Each spelling is sought by the table's own index.
  const sought = (column: string, table: string): Database.Statement<[object], string | Buffer> =>
    db
      .prepare<[object], string | Buffer>(`SELECT ${column} FROM ${table} WHERE hash = @hash AND ${isBytes(column)}
        UNION ALL SELECT ${column} FROM ${table} WHERE hash = @upper AND ${isBytes(column)}
        UNION ALL SELECT ${column} FROM ${table} WHERE hash = @bytes AND ${isBytes(column)} LIMIT 1`)
      .pluck();
  return {
    counts: db.prepare(`SELECT (SELECT count(*) FROM import_commit) AS commits,
      (SELECT count(*) FROM state_snapshots) AS snapshots, (SELECT count(*) FROM state_values) AS "values"`),
    newestLeaf: db
      .prepare<[], string>(`SELECT hash FROM import_commit AS leaf
        WHERE NOT EXISTS (SELECT 1 FROM import_commit WHERE parent = leaf.hash) ORDER BY id DESC LIMIT 1`)
      .pluck(),
    addToLine: db.prepare<[string]>("INSERT OR IGNORE INTO import_line SELECT hash FROM import_commit WHERE hash = ?"),
    onLine: db.prepare<[string]>("SELECT 1 FROM import_line WHERE hash = ?"),
    commit: db.prepare<[string], ForeignCommit>("SELECT hash, snapshot, parent FROM import_commit WHERE hash = ?"),
    roots: db.prepare<[], ForeignCommit>(
      `SELECT hash, snapshot, parent FROM import_commit WHERE ${missing} ORDER BY id`,
    ),
    children: db.prepare<[string], ForeignCommit>(
      "SELECT hash, snapshot, parent FROM import_commit WHERE parent = ? ORDER BY id",
    ),
    snapshot: sought("entries", "state_snapshots"),
    value: sought("content", "state_values"),
    useValue: db.prepare<[string]>("INSERT OR IGNORE INTO import_value VALUES (?)"),
    useSnapshot: db.prepare<[string]>("INSERT OR IGNORE INTO import_snapshot VALUES (?)"),
    unreached: db.prepare(`SELECT
      (SELECT count(*) FROM state_values WHERE ${hashColumn("hash")} NOT IN import_value) AS "values",
      (SELECT count(*) FROM state_snapshots WHERE ${hashColumn("hash")} NOT IN import_snapshot) AS snapshots`),
  };
}

/** Commits with their hashes as text, whatever they are in the file, and found by parent. */
async function takeCommits(db: Database.Database): Promise<void> {
  const [hash, snapshot, parent] = ["hash", "snapshot_hash", "parent_hash"].map(hashColumn);
  const take = db.prepare<[bigint, bigint]>(`
    INSERT OR IGNORE INTO import_commit(id, hash, snapshot, parent)
    SELECT rowid, ${hash}, ${snapshot}, ${parent} FROM state_commits WHERE rowid > ? AND rowid <= ?`);
  // By the rows that are there: their numbers may be any, and a loop over these would never end.
  const pageEnd = db
    .prepare<[bigint], bigint | null>(
      `SELECT max(rowid) FROM (SELECT rowid FROM state_commits WHERE rowid > ? ORDER BY rowid LIMIT ${ROWS})`,
    )
    .pluck()
    .safeIntegers();
  for (let at = FIRST_ROW, end = pageEnd.get(at); end != null; at = end, end = pageEnd.get(at)) {
    take.run(at, end);
    await nextTurn();
  }
}

/** With its log. A file that changed meanwhile may be half of one state and half of another. */
async function copyDatabase(path: string, copy: string): Promise<void> {
  const print = async (): Promise<string> => {
    const files = [path, `${path}-wal`, `${path}-journal`];
    const parts = files.map((file) =>
      stat(file).then(
        ({ size, mtimeMs }) => `${size} ${mtimeMs}`,
        () => "none",
      ),
    );
    return (await Promise.all(parts)).join();
  };
  const before = await print();
  if (!(await stat(path)).isFile()) throw invalid(`${path} is no plain file`, { remedy: EXPECTED });
  await copyFile(path, copy, constants.COPYFILE_FICLONE);
  for (const suffix of ["-wal", "-journal"]) {
    await copyFile(path + suffix, copy + suffix).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  if ((await print()) === before) return;
  throw new VlinderError("unavailable", `${path} changes while it is read`, {
    remedy: "stop VlinderCLI, and import again",
    details: { path },
  });
}

function sourceError(error: unknown, path: string): unknown {
  if (error instanceof VlinderError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const details = { path, code: String(code) };
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new VlinderError("not_found", `there is no file ${path}`, { remedy: "check the path", details });
  }
  if (code === "EACCES" || code === "EPERM") {
    return new VlinderError("denied", `vlinderd can't read ${path}`, { remedy: "let its user read the file", details });
  }
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new VlinderError("unavailable", "there is no space for a copy of the file", {
      remedy: "free space on the disk of VLINDER_HOME",
      details,
    });
  }
  if (code === "SQLITE_NOTADB" || code === "SQLITE_CORRUPT") {
    return invalid(`${path} is no SQLite database, or a damaged one`, { remedy: EXPECTED, details, cause: error });
  }
  if (code === "SQLITE_ERROR") {
    return invalid(`${path} can't be read as VlinderCLI's: ${(error as Error).message}`, {
      remedy: EXPECTED,
      details,
      cause: error,
    });
  }
  return error;
}

/** SHA-256 as VlinderCLI names what it stores. */
export function foreignHash(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
