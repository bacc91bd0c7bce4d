import Database from "better-sqlite3";
import { crc32 } from "node:zlib";
import { type Metric, VlinderError } from "@vlinder/protocol";
import { IndexDamaged } from "../vector-storage.ts";

/** Counts up with every change of tables or of what their columns mean. An older file is built again. */
export const SCHEMA_VERSION = 1;

/**
 * `rows` is what is scanned to choose candidates: small, so that filters and the first pass read
 * little. `vectors` is what is read of the candidates. `meta` carries what the file was made for,
 * the position, and a digest of all rows (see `checkIndex`). Strict, so that SQLite's own check
 * finds a value of another type.
 */
const SCHEMA = `
  create table meta (name text primary key, value any) strict, without rowid;
  create table rows (
    id integer primary key,
    key blob not null,
    hash blob not null,
    live integer not null,
    norm real not null,
    bits blob not null,
    members text not null,
    crc integer not null
  ) strict;
  create unique index rows_by_name on rows (key, hash);
  create table vectors (id integer primary key, vector blob not null) strict;
`;

export interface Digest {
  readonly count: number;
  readonly live: number;
  /** Of the rows' CRCs, modulo 2^32. */
  readonly sum: number;
}

export const NO_ROWS: Digest = { count: 0, live: 0, sum: 0 };

export interface RowBytes {
  readonly key: Uint8Array;
  readonly hash: Uint8Array;
  readonly norm: number;
  readonly bits: Uint8Array;
  readonly members: string;
  readonly vector: Uint8Array;
}

const normBytes = Buffer.alloc(8);

/** Over all of a row but `live`, which the digest counts. */
export function crcOf(row: RowBytes): number {
  normBytes.writeDoubleLE(row.norm);
  let crc = crc32(row.key);
  for (const part of [row.hash, normBytes, row.bits, row.members, row.vector]) crc = crc32(part, crc);
  return crc;
}

/** SQLite's application id of an index: "vlnv". */
export const INDEX_MARK = 0x766c6e76;

export function createIndex(db: Database.Database, dimension: number, metric: Metric): void {
  db.transaction(() => {
    db.exec(SCHEMA);
    const insert = db.prepare("insert into meta values (?, ?)");
    const meta = { version: SCHEMA_VERSION, dimension, metric, position: null, position_crc: 0, ...NO_ROWS };
    for (const [name, value] of Object.entries(meta)) insert.run(name, value);
    db.pragma(`application_id = ${INDEX_MARK}`);
    db.pragma(`user_version = ${SCHEMA_VERSION}`);
  })();
}

/**
 * Whether a file is what it should be, down to the last byte. SQLite has no checksums: a flipped
 * bit in a vector would go unnoticed and make results wrong, so all rows are read once on opening
 * and must add up to the digest that every transaction keeps. @throws IndexDamaged, invalid
 */
export function checkIndex(db: Database.Database, dimension: number, metric: Metric): Digest {
  checkVersion(db);
  if (schemaOf(db) !== SCHEMA_TEXT) throw new IndexDamaged("its tables are not those of an index");
  const stored = db.prepare("select name, value from meta").all() as { name: string; value: unknown }[];
  const meta = new Map(stored.map(({ name, value }) => [name, value]));
  if (meta.get("dimension") !== dimension || meta.get("metric") !== metric) {
    const was = `${String(meta.get("dimension"))} ${String(meta.get("metric"))}`;
    throw new IndexDamaged(`made for ${was}, and ${dimension} ${metric} is needed`);
  }
  const position = meta.get("position");
  if (crc32(typeof position === "string" ? position : "") !== meta.get("position_crc")) {
    throw new IndexDamaged("its position has changed");
  }
  const problem = db.pragma("integrity_check(1)", { simple: true });
  if (problem !== "ok") throw new IndexDamaged(String(problem));

  let [count, live, sum] = [0, 0, 0];
  const rows = db.prepare("select * from rows join vectors using (id)").iterate() as IterableIterator<
    RowBytes & { readonly live: number; readonly crc: number }
  >;
  for (const row of rows) {
    if (crcOf(row) !== row.crc || row.vector.length !== 4 * dimension) throw new IndexDamaged("a row has changed");
    count++;
    live += row.live;
    sum = (sum + row.crc) >>> 0;
  }
  if (count !== meta.get("count") || live !== meta.get("live") || sum !== meta.get("sum")) {
    throw new IndexDamaged("its rows are not those that were written");
  }
  return { count, live, sum };
}

/**
 * Before anything else is looked at, and before anything is set: a newer release may have other tables, and its file is
 * not ours to drop. Reads the header only. @throws invalid
 */
export function refuseNewer(db: Database.Database): void {
  const version = db.pragma("user_version", { simple: true }) as number;
  if (db.pragma("application_id", { simple: true }) !== INDEX_MARK || version <= SCHEMA_VERSION) return;
  throw new VlinderError(
    "invalid",
    `${db.name} is a vector index of version ${version}; this release knows ${SCHEMA_VERSION}`,
    {
      remedy: "update vlinder, or build the index again with `vlinder vector reindex`",
      details: { version, path: db.name },
    },
  );
}

function checkVersion(db: Database.Database): void {
  const version = db.prepare("select value from meta where name = 'version'").pluck().get();
  const header = db.pragma("user_version", { simple: true });
  if (version !== header) throw new IndexDamaged(`its versions disagree: ${String(version)}, ${String(header)}`);
  if (version !== SCHEMA_VERSION) throw new IndexDamaged(`of version ${String(version)}`);
}

function schemaOf(db: Database.Database): string {
  return JSON.stringify(db.prepare("select type, name, tbl_name, sql from sqlite_schema order by name").all());
}

/** As SQLite writes down what it was given. */
const SCHEMA_TEXT = schemaOf(new Database(":memory:").exec(SCHEMA));
