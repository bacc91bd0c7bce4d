import { mkdirSync, renameSync } from "node:fs";
import { dirname } from "node:path";
// This home's own bookkeeping, not an agent's storage: no backend of `storage/` is asked for it.
// oxlint-disable-next-line no-restricted-imports
import Database from "better-sqlite3";
import { type DeviceId, type Hash, hashFromBytes, hashToBytes, invalid, VlinderError } from "@vlinder/protocol";
import { lookBeforeLog } from "../storage/sqlite-log.ts";
import { LEDGER_FROM_1, LEDGER_FROM_2, LEDGER_SCHEMA, LEDGER_TABLES, PackLedger } from "./packs/pack-ledger.ts";
import type { VaultId } from "./vault/vault.ts";

/** A head file that this home wrote, or was about to write. */
export interface OwnHead {
  readonly device: DeviceId;
  readonly n: number;
  readonly hash: Hash;
  /** Hash of what it says (branches and packs): an equal one need not be written again. */
  readonly content: Hash;
}

/** The newest head of a device that was seen. */
export interface SeenHead {
  readonly device: DeviceId;
  readonly n: number;
  readonly hash: Hash;
  readonly time: string;
}

/** Small things to remember; each is plain JSON. */
export type FactName = "vault" | "pushed" | "pulled" | "error" | "notes" | "retired" | "databases" | "made";

const VERSION = 3;
const SCHEMA = `
  ${LEDGER_SCHEMA}
  CREATE TABLE tips (hash BLOB PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE own_heads (device TEXT NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL, content BLOB NOT NULL, PRIMARY KEY (device, n)) WITHOUT ROWID;
  CREATE TABLE seen_heads (device TEXT PRIMARY KEY, n INTEGER NOT NULL, hash BLOB NOT NULL, time TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE head_files (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`;

/**
 * What this home knows of one agent's part of the bucket, in `sync.db`. All of it is a memory of
 * what was seen: with the file lost, the next pull reads the packs again and the next push sends
 * what it can't know to be there. Every method is one short transaction, and any prefix of the
 * steps of a push or pull is a good state. A head is remembered before it is written, so that one whose reply was
 * lost is known as ours.
 */
export class SyncState extends PackLedger {
  /** What happened to the file at opening that a person should know; or null. */
  readonly note: string | null;

  private constructor(db: Database.Database, note: string | null) {
    super(db);
    this.note = note;
  }

  static #of(db: Database.Database, note: string | null): SyncState {
    try {
      return new SyncState(db, note);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** Opens or makes the file. A damaged one is set aside and begun anew. @throws unavailable, invalid */
  static open(file: string): SyncState {
    try {
      mkdirSync(dirname(file), { recursive: true });
      return SyncState.#of(openDatabase(file), null);
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (code === "SQLITE_CORRUPT" || code === "SQLITE_NOTADB") {
        const aside = `${file}.damaged-${Date.now()}`;
        renameSync(file, aside);
        return SyncState.#of(openDatabase(file), `${file} was damaged: set aside as ${aside} and begun anew`);
      }
      if (error instanceof VlinderError) throw error;
      throw new VlinderError("unavailable", `${file} can't be opened: ${String(code)}`, {
        remedy: "check the home folder, its permissions and its disk",
        cause: error,
      });
    }
  }

  close(): void {
    this.db.close();
  }

  /** Everything here is about one vault; another one starts from nothing. */
  bind(vault: VaultId): void {
    if (this.fact("vault") === vault) return;
    this.db.transaction(() => {
      for (const table of [...LEDGER_TABLES, "tips", "own_heads", "seen_heads", "head_files"]) {
        this.db.exec(`DELETE FROM ${table}`);
      }
      this.db.exec("DELETE FROM facts WHERE name <> 'made'");
      this.setFact("vault", vault);
    })();
  }

  /**
   * This home has made a vault in a bucket: what was known of packs is about the one before, and all is owed. Own and seen heads stay, since their
   * numbers go on there.
   */
  settle(made: string | null): void {
    if (this.fact("made") === made) return;
    this.db.transaction(() => {
      for (const table of [...LEDGER_TABLES, "tips"]) this.db.exec(`DELETE FROM ${table}`);
      this.db.exec("DELETE FROM facts WHERE name IN ('pushed', 'pulled', 'error', 'notes')");
      this.setFact("made", made);
    })();
  }

  /** What was known of packs and of own heads is worth nothing: another home may as well have written them. */
  forgetBucket(): void {
    this.db.transaction(() => {
      for (const table of [...LEDGER_TABLES, "tips", "own_heads", "head_files"]) this.db.exec(`DELETE FROM ${table}`);
    })();
  }

  /** Commits whose whole history the known packs hold. */
  tips(): Hash[] {
    const rows = this.db.prepare("SELECT hash FROM tips ORDER BY hash").all() as { hash: Buffer }[];
    return rows.map(({ hash }) => hashFromBytes(hash));
  }

  /** Replaces the tips; commits that no known pack holds are left out. */
  setTips(commits: readonly Hash[]): void {
    const held = commits.filter((commit) => this.has("commit", commit));
    this.db.transaction(() => {
      this.db.exec("DELETE FROM tips");
      const insert = this.db.prepare("INSERT INTO tips VALUES (?) ON CONFLICT DO NOTHING");
      for (const commit of held) insert.run(hashToBytes(commit));
    })();
  }

  ownHeads(): OwnHead[] {
    const rows = this.db.prepare("SELECT * FROM own_heads ORDER BY n").all() as OwnRow[];
    return rows.map(({ device, n, hash, content }) => ({
      device,
      n,
      hash: hashFromBytes(hash),
      content: hashFromBytes(content),
    }));
  }

  /**
   * Before the head is written, and durable: a head of ours that we do not know would look like
   * another home's. Its number is used up, whatever happens then.
   */
  addOwnHead({ device, n, hash, content }: OwnHead): void {
    this.db.pragma("synchronous = FULL");
    this.db
      .prepare("INSERT INTO own_heads VALUES (?, ?, ?, ?)")
      .run(device, n, hashToBytes(hash), hashToBytes(content));
    this.db.pragma("synchronous = NORMAL");
  }

  /** Of one device's heads only the newest need be remembered: a lost put may still come true, but not for ever. */
  pruneOwnHeads(keep: number): void {
    this.db
      .prepare(
        "DELETE FROM own_heads WHERE n <= (SELECT max(n) FROM own_heads AS own WHERE own.device = own_heads.device) - ?",
      )
      .run(keep);
  }

  seenHeads(): SeenHead[] {
    const rows = this.db.prepare("SELECT * FROM seen_heads ORDER BY device").all() as SeenRow[];
    return rows.map((row) => ({ ...row, hash: hashFromBytes(row.hash) }));
  }

  /** Remembers the newest head of a device. */
  seeHead({ device, n, hash, time }: SeenHead): void {
    this.db
      .prepare(`
        INSERT INTO seen_heads (device, n, hash, time) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET n = excluded.n, hash = excluded.hash, time = excluded.time WHERE excluded.n >= seen_heads.n`)
      .run(device, n, hashToBytes(hash), time);
  }

  /** The bytes of a head file that was read before. */
  headFile(hash: Hash): Buffer | null {
    const row = this.db.prepare("SELECT bytes FROM head_files WHERE hash = ?").get(hashToBytes(hash));
    return row === undefined ? null : (row as { bytes: Buffer }).bytes;
  }

  /** Those that were good when they were read. */
  headFiles(): Buffer[] {
    return (this.db.prepare("SELECT bytes FROM head_files").all() as { bytes: Buffer }[]).map(({ bytes }) => bytes);
  }

  /** Keeps exactly these head files, so that the next pull reads only new ones. */
  keepHeadFiles(files: readonly { readonly hash: Hash; readonly bytes: Buffer }[]): void {
    const names = new Set(files.map(({ hash }) => hash));
    this.db.transaction(() => {
      const there = this.db.prepare("SELECT hash FROM head_files").all() as { hash: Buffer }[];
      const drop = this.db.prepare("DELETE FROM head_files WHERE hash = ?");
      for (const { hash } of there) if (!names.has(hashFromBytes(hash))) drop.run(hash);
      const add = this.db.prepare("INSERT INTO head_files VALUES (?, ?) ON CONFLICT DO NOTHING");
      for (const { hash, bytes } of files) add.run(hashToBytes(hash), bytes);
    })();
  }

  fact<T>(name: FactName): T | null {
    const row = this.db.prepare("SELECT value FROM facts WHERE name = ?").get(name);
    return row === undefined ? null : (JSON.parse((row as { value: string }).value) as T);
  }

  setFact(name: FactName, value: unknown): void {
    this.db
      .prepare("INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
      .run(name, JSON.stringify(value));
  }
}

interface OwnRow {
  readonly device: DeviceId;
  readonly n: number;
  readonly hash: Buffer;
  readonly content: Buffer;
}
interface SeenRow {
  readonly device: DeviceId;
  readonly n: number;
  readonly hash: Buffer;
  readonly time: string;
}

function openDatabase(file: string): Database.Database {
  lookBeforeLog(file, refuseNewer);
  const db = new Database(file);
  try {
    refuseNewer(db);
    db.pragma("journal_mode = WAL");
    // A kill loses nothing; a power cut may lose the last steps, which are then done again.
    db.pragma("synchronous = NORMAL");
    // Checkpoints are made on the thread that serves: they are to be few.
    db.pragma("wal_autocheckpoint = 4096");
    const version = db.pragma("user_version", { simple: true });
    if (version === 0) {
      db.transaction(() => {
        db.exec(SCHEMA);
        db.pragma(`user_version = ${VERSION}`);
      })();
    } else if (version === 1 || version === 2) {
      db.transaction(() => {
        db.exec(version === 1 ? LEDGER_FROM_1 : LEDGER_FROM_2);
        db.pragma(`user_version = ${VERSION}`);
      })();
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Reads only. @throws invalid */
function refuseNewer(db: Database.Database): void {
  const version = db.pragma("user_version", { simple: true }) as number;
  if (version <= VERSION) return;
  throw invalid(`${db.name} has format ${version}; this release knows ${VERSION}`, {
    remedy: "update vlinder; or remove the file, and the next pull and push make it anew",
    details: { path: db.name, version },
  });
}
