import { crc32 } from "node:zlib";
import Database from "better-sqlite3";
import { load } from "sqlite-vec";
import { asBuffer, hashToBytes, keyBytes, type Metric, VlinderError } from "@vlinder/protocol";
import type { Advance, Candidate, NearestQuery, RowName, VectorRow } from "../vector-storage.ts";
import { lookBeforeLog } from "../sqlite-log.ts";
import { checkIndex, crcOf, createIndex, type Digest, refuseNewer } from "./index-schema.ts";
import { Nearest } from "./nearest.ts";
import { Quantiser } from "./quantise.ts";
import { norm } from "./score.ts";

export interface IndexFileOptions {
  readonly path: string;
  readonly dimension: number;
  readonly metric: Metric;
  /** Up to this many rows every result is exact. */
  readonly exactRows: number;
}

/** A row with what filters can ask for as canonical JSON. */
export type MemberRow = Omit<VectorRow, "metadata"> & { readonly members: string };

/** The SQLite file of one agent's index. Blocks while it works: it lives in a worker thread. */
export class IndexFile {
  readonly #db: Database.Database;
  readonly #quantiser: Quantiser;
  readonly #nearest: Nearest;
  readonly #statements;
  #digest: Digest;

  /** Opens or makes the file, and checks all of it. @throws IndexDamaged, VlinderError, SqliteError */
  constructor(options: IndexFileOptions) {
    const { path, dimension, metric } = options;
    lookBeforeLog(path, refuseNewer);
    this.#db = openFile(path);
    try {
      refuseNewer(this.#db);
      load(this.#db);
      // 16 KiB: a vector of 384 in 4 KiB pages leaves a fifth of each page empty.
      this.#db.pragma("page_size = 16384");
      this.#db.pragma("journal_mode = WAL");
      // An index can be built again, so a power cut may take the last transactions, in order.
      this.#db.pragma("synchronous = NORMAL");
      this.#db.pragma("secure_delete = ON");
      const tables = this.#db.prepare("select count(*) from sqlite_schema").pluck().get();
      if (tables === 0) {
        createIndex(this.#db, dimension, metric);
        // The mark that tells it from somebody else's file must be in the file, and not only in its log.
        this.#db.pragma("wal_checkpoint(TRUNCATE)");
      }
      this.#digest = checkIndex(this.#db, dimension, metric);
      this.#quantiser = new Quantiser(dimension);
      this.#nearest = new Nearest(this.#db, options, this.#quantiser);
      this.#statements = prepare(this.#db);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  add(rows: readonly MemberRow[]): void {
    const { find, insertRow, insertVector } = this.#statements;
    this.#write((digest) => {
      for (const row of rows) {
        const key = keyBytes(row.key);
        const hash = hashToBytes(row.hash);
        if (find.get(key, hash) !== undefined) continue;
        const bytes = {
          key,
          hash,
          norm: norm(row.vector),
          bits: this.#quantiser.bits(row.vector),
          members: row.members,
          vector: vectorBytes(row.vector),
        };
        const crc = crcOf(bytes);
        const { lastInsertRowid } = insertRow.run({ ...bytes, crc });
        insertVector.run(lastInsertRowid, bytes.vector);
        digest = { ...digest, count: digest.count + 1, sum: (digest.sum + crc) >>> 0 };
      }
      return digest;
    });
  }

  advance({ live, dead, position }: Advance): void {
    this.#write((digest) => {
      let marked = digest.live;
      for (const row of live) marked += this.#mark(row, 1);
      for (const row of dead) marked -= this.#mark(row, 0);
      this.#statements.setMeta.run(position, "position");
      this.#statements.setMeta.run(crc32(position ?? ""), "position_crc");
      return { ...digest, live: marked };
    });
  }

  /** How many rows changed. */
  #mark({ key, hash }: RowName, live: 0 | 1): number {
    return this.#statements.mark.run(live, keyBytes(key), hashToBytes(hash), live).changes;
  }

  remove(rows: readonly RowName[]): void {
    const { find, deleteRow, deleteVector } = this.#statements;
    this.#write((digest) => {
      for (const { key, hash } of rows) {
        const row = find.get(keyBytes(key), hashToBytes(hash)) as { id: number; live: number; crc: number } | undefined;
        if (row === undefined) continue;
        deleteRow.run(row.id);
        deleteVector.run(row.id);
        digest = { count: digest.count - 1, live: digest.live - row.live, sum: (digest.sum - row.crc) >>> 0 };
      }
      return digest;
    });
    // What was removed must not stay readable in the write-ahead log.
    this.#db.pragma("wal_checkpoint(TRUNCATE)");
  }

  nearest(query: NearestQuery): Candidate[] {
    return this.#nearest.find(query, this.#digest.count);
  }

  count(): number {
    return this.#digest.count;
  }

  position(): string | null {
    return this.#statements.getMeta.pluck().get("position") as string | null;
  }

  close(): void {
    this.#db.close();
  }

  /** One transaction; the digest in memory follows only when it is committed. */
  #write(change: (digest: Digest) => Digest): void {
    this.#digest = this.#db.transaction(() => {
      const digest = change(this.#digest);
      for (const [name, value] of Object.entries(digest)) this.#statements.setMeta.run(value, name);
      return digest;
    })();
  }
}

function openFile(path: string): Database.Database {
  try {
    return new Database(path);
  } catch (cause) {
    // What is not from SQLite is better-sqlite3's own check of the folder.
    if (!(cause instanceof TypeError)) throw cause;
    throw new VlinderError("unavailable", `the vector index can't be opened: ${cause.message}`, {
      cause,
      remedy: "see that its folder exists",
      details: { path },
    });
  }
}

function prepare(db: Database.Database) {
  return {
    find: db.prepare("select id, live, crc from rows where key = ? and hash = ?"),
    insertRow: db.prepare(
      "insert into rows (key, hash, live, norm, bits, members, crc) values (@key, @hash, 0, @norm, @bits, @members, @crc)",
    ),
    insertVector: db.prepare("insert into vectors (id, vector) values (?, ?)"),
    mark: db.prepare("update rows set live = ? where key = ? and hash = ? and live <> ?"),
    deleteRow: db.prepare("delete from rows where id = ?"),
    deleteVector: db.prepare("delete from vectors where id = ?"),
    setMeta: db.prepare("update meta set value = ? where name = ?"),
    getMeta: db.prepare("select value from meta where name = ?"),
  };
}

/** Little-endian float32, as sqlite-vec takes them. */
function vectorBytes(vector: Float32Array): Buffer {
  return asBuffer(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength));
}
