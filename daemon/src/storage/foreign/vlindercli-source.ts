import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import Database from "better-sqlite3";
import { openCopy } from "./database-copy.ts";
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
  static open(path: string, scratch: string): Promise<VlinderCliSource> {
    return openCopy(path, scratch, { expected: EXPECTED, writer: "VlinderCLI" }, async (copy, folder) => {
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
    });
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

/** SHA-256 as VlinderCLI names what it stores. */
export function foreignHash(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
