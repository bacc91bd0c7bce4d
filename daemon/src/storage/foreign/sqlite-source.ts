import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import Database from "better-sqlite3";
import { invalid, type VlinderError } from "@vlinder/protocol";
import { isCorrupt, openCopy, sourceError, type Wanted } from "./database-copy.ts";
import { describeTable, type ForeignTable, type LeftOut, quoted, readSchema } from "./sqlite-tables.ts";

/** What a row has in a column: SQLite's five kinds. `bytes` of a text are in the file's encoding. */
export type Cell =
  | { readonly kind: "null" }
  | { readonly kind: "integer"; readonly value: bigint }
  | { readonly kind: "real"; readonly value: number }
  | { readonly kind: "text"; readonly bytes: Buffer }
  | { readonly kind: "blob"; readonly bytes: Buffer };

export interface ForeignRow {
  /** Its rowid, or its number in the table where that can't be asked for. */
  readonly id: bigint;
  readonly cells: readonly Cell[];
}

/** A row is read into memory, and written as JSON there. */
export const ROW_BYTES = 64 << 20;
/** SQLite bounds how deep an expression may be: many columns are summed up in groups. */
const GROUP = 400;

const WANTED: Wanted = {
  expected: "name an SQLite file with tables, as AgentVault and Agno's SqliteDb write it",
  writer: "what writes to it",
};

/** Any SQLite file, table by table and row by row. Nothing here is trusted. It works on a copy: see `openCopy`. */
export class SqliteSource {
  /** SHA-256 of the file, and of the log beside it; null: none. */
  readonly hash: string;
  readonly logHash: string | null;
  readonly encoding: "utf-8" | "utf-16le" | "utf-16be";
  readonly leftOut: readonly LeftOut[];
  /** Tables with rows of their own, in the order in which they were made. */
  readonly tables: readonly string[];
  readonly #sql: ReadonlyMap<string, string>;
  readonly #db: Database.Database;
  readonly #folder: string;
  readonly #path: string;

  private constructor(db: Database.Database, folder: string, path: string, hashes: [string, string | null]) {
    this.#db = db;
    this.#folder = folder;
    this.#path = path;
    [this.hash, this.logHash] = hashes;
    const { tables, sql, leftOut } = readSchema(db);
    if (tables.length === 0) {
      throw invalid(`${path} has no table that could be imported`, { remedy: WANTED.expected, details: { path } });
    }
    this.tables = tables;
    this.#sql = sql;
    this.leftOut = leftOut;
    this.encoding = (db.pragma("encoding", { simple: true }) as string).toLowerCase() as this["encoding"];
  }

  /** @param scratch a folder for the copy @throws as `openCopy`; invalid: no table */
  static open(path: string, scratch: string): Promise<SqliteSource> {
    return openCopy(path, scratch, WANTED, async (copy, folder) => {
      const hashes: [string, string | null] = [
        await sha256Of(copy),
        await sha256Of(`${copy}-wal`).catch((error: NodeJS.ErrnoException) => {
          if (error.code === "ENOENT") return null;
          throw error;
        }),
      ];
      const db = new Database(copy);
      try {
        // What the schema names may be anything: no function or module of it has to run here.
        db.pragma("trusted_schema = OFF");
        // A damaged page is to be an error and not rows that nobody wrote.
        db.pragma("cell_size_check = ON");
        return new SqliteSource(db, folder, path, hashes);
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

  /**
   * A table by its name, and how many rows it has; `large` of them are over 64 MiB. A text: why SQLite can't read it, such as
   * a collation that it does not know. @throws invalid: the file is damaged
   */
  table(name: string): { readonly table: ForeignTable; readonly rows: number; readonly large: number } | string {
    try {
      const table = describeTable(this.#db, name, this.#sql.get(name) ?? "");
      const from = `FROM ${quoted(name)} NOT INDEXED`;
      if (table.columns.length === 0) return "SQLite finds no such table: its name may be no valid text";
      // So that one that can't be read is known before anything of it is written.
      this.#db.prepare(readStatement(table));
      const count = this.#db.prepare<[], number>(`SELECT count(*) ${from}`).pluck().get() ?? 0;
      const large = this.#db
        .prepare<[], number>(`SELECT count(*) ${from} WHERE ${sizeOf(table)} > ${ROW_BYTES}`)
        .pluck()
        .get();
      return { table, rows: count, large: large ?? 0 };
    } catch (error) {
      const { code, message } = error as { code?: unknown; message: string };
      if (code === "SQLITE_ERROR") return message;
      throw sourceError(error, this.#path, WANTED);
    }
  }

  /**
   * The rows that are not over 64 MiB, in the order of the table; `expected` of them.
   * @throws invalid: the file is damaged, also where what is read can't be all, or not once
   */
  *rows(table: ForeignTable, expected: number): Generator<ForeignRow> {
    const { columns } = table;
    const statement = this.#db.prepare<[], unknown[]>(readStatement(table)).raw().safeIntegers();
    let number = 0n;
    let last: bigint | null = null;
    try {
      for (const found of statement.iterate()) {
        number++;
        const id = (found[0] as bigint | null) ?? number;
        if (last !== null && id <= last) throw this.damaged(table);
        last = id;
        const kinds = found.slice(columns.length + 1).join("");
        const cells = columns.map((_column, index) => cellOf(kinds[index] ?? "", found[index + 1]));
        yield { id, cells };
      }
      if (number !== BigInt(expected)) throw this.damaged(table);
    } catch (error) {
      const { code } = error as { code?: unknown };
      throw isCorrupt(code) || code === "SQLITE_ERROR" ? sourceError(error, this.#path, WANTED) : error;
    }
  }

  /** What cannot be in a file that is whole. */
  damaged({ name }: ForeignTable): VlinderError {
    return invalid(
      `${this.#path} is damaged: in ${JSON.stringify(name.slice(0, 200))} rows are missing, or there twice`,
      {
        remedy: "import what `sqlite3 FILE .recover` saves, or a backup",
        details: { path: this.#path },
      },
    );
  }
}

/** By the table itself and not by an index: a covering one may be damaged where the table is not, and has another order. */
function readStatement(table: ForeignTable): string {
  const { columns, rowid, name } = table;
  const values = columns.map(({ name: column }) => {
    const quote = quoted(column);
    // As bytes: a text need not be valid, and is not to be mended on the way.
    return `CASE typeof(${quote}) WHEN 'text' THEN CAST(${quote} AS BLOB) ELSE ${quote} END`;
  });
  const kinds = groups(columns).map((group) =>
    group.map((column) => `substr(typeof(${quoted(column.name)}), 1, 1)`).join(" || "),
  );
  const asked = [rowid ?? "NULL", ...values, ...kinds].join(", ");
  return `SELECT ${asked} FROM ${quoted(name)} NOT INDEXED WHERE ${sizeOf(table)} <= ${ROW_BYTES}`;
}

/** SQL for the bytes of a row: SQLite knows them without reading the values. */
function sizeOf({ columns }: ForeignTable): string {
  const sums = groups(columns).map((group) =>
    group.map(({ name }) => `coalesce(octet_length(${quoted(name)}), 0)`).join(" + "),
  );
  return sums.map((sum) => `(${sum})`).join(" + ");
}

function groups<Item>(items: readonly Item[]): (readonly Item[])[] {
  return Array.from({ length: Math.ceil(items.length / GROUP) }, (_none, index) =>
    items.slice(index * GROUP, (index + 1) * GROUP),
  );
}

/** @param kind the first letter of `typeof` */
function cellOf(kind: string, value: unknown): Cell {
  if (kind === "i") return { kind: "integer", value: value as bigint };
  if (kind === "r") return { kind: "real", value: value as number };
  if (kind === "t") return { kind: "text", bytes: value as Buffer };
  if (kind === "b") return { kind: "blob", bytes: value as Buffer };
  return { kind: "null" };
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(path)) hash.update(part as Buffer);
  return hash.digest("hex");
}
