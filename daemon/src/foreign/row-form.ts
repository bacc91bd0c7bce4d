import { canonicalJson, type Json, type Key, LIMITS, parseKey, sha256 } from "@vlinder/protocol";
import type { Cell, ForeignRow } from "../storage/foreign/sqlite-source.ts";
import type { ForeignTable } from "../storage/foreign/sqlite-tables.ts";

/*
 * How rows of a SQLite table are keys and values; docs/agentvault.md has it for people. Both are reversible: no two rows have one key,
 * and a value says of each column what SQLite had there, also of which of its five kinds it was.
 */

/** Where the statements that made the tables go: no table's name begins with `sqlite_`. */
const SCHEMA = "/sqlite_schema";
/** A longer name of a table is its SHA-256, so that there is room for the keys of its rows. */
const TABLE_BYTES = 512;

type Encoding = "utf-8" | "utf-16le" | "utf-16be";

/** The keys and values of one table. */
export class RowForm {
  /** What the keys of its rows begin with. */
  readonly prefix: string;
  readonly #table: ForeignTable;
  readonly #text: InstanceType<typeof TextDecoder>;
  readonly #encoding: Encoding;

  constructor(table: ForeignTable, encoding: Encoding) {
    this.#table = table;
    this.#encoding = encoding;
    this.#text = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
    this.prefix = `/${tablePart(table.name)}/`;
  }

  /** What the table is: under a key of its own. */
  schema(): { key: Key; bytes: Buffer } {
    const { sql, columns, key, rowid } = this.#table;
    const document = {
      sql,
      columns: columns.map(({ name, type }) => ({ name, type })),
      key: key.map((index) => columns[index]?.name ?? ""),
      rowid: rowid !== null,
      encoding: this.#encoding,
    };
    return { key: parseKey(`${SCHEMA}${this.prefix.slice(0, -1)}`), bytes: bytesOf(document) };
  }

  /** `hashed`: the key that the row would have is too long, and this is its SHA-256. */
  key({ id, cells }: ForeignRow): { readonly key: Key; readonly hashed: boolean } {
    const { key, columns } = this.#table;
    const parts = key.map((index) => this.#part(cells[index] ?? NULL, columns[index]?.affinity === "text", id));
    const text = this.prefix + (parts.length === 0 ? String(id) : parts.join("/"));
    if (Buffer.byteLength(text) <= LIMITS.keyBytes) return { key: parseKey(text), hashed: false };
    return { key: parseKey(`${this.prefix}%h${sha256(text)}`), hashed: true };
  }

  /** Canonical JSON of the row. */
  value({ cells }: ForeignRow): Buffer {
    // Not member by member: a column may be called __proto__.
    return bytesOf(
      Object.fromEntries(
        this.#table.columns.map(({ name, affinity }, index) => [name, this.#cell(cells[index] ?? NULL, affinity)]),
      ),
    );
  }

  #cell(cell: Cell, affinity: string): Json {
    switch (cell.kind) {
      case "null":
        return null;
      case "integer": {
        const number = Number(cell.value);
        // In a column of reals a number is a real.
        return affinity !== "real" && Number.isSafeInteger(number) ? number : { integer: String(cell.value) };
      }
      case "real": {
        const { value } = cell;
        const isPlain = Number.isFinite(value) && !Object.is(value, -0);
        return isPlain && (affinity === "real" || !Number.isInteger(value)) ? value : { real: realText(value) };
      }
      case "text":
        return this.#decoded(cell.bytes) ?? { text: { base64: cell.bytes.toString("base64") } };
      case "blob":
        return { base64: cell.bytes.toString("base64") };
    }
  }

  /** A column of the primary key, as a part of the key. `%` begins what is not plain, and never stands for itself. */
  #part(cell: Cell, isText: boolean, id: bigint): string {
    switch (cell.kind) {
      case "null":
        return `%n${id}`;
      case "integer":
        return isText ? `%i${cell.value}` : String(cell.value);
      case "real":
        return `%r${realText(cell.value)}`;
      case "blob":
        return `%x${cell.bytes.toString("hex")}`;
      case "text": {
        const text = this.#decoded(cell.bytes);
        if (text === null) return `%u${cell.bytes.toString("hex")}`;
        // Where SQLite keeps numbers as they are, the text "1" is another key than the number 1.
        return !isText && /^-?\d+$/.test(text) ? `%t${text}` : escaped(text);
      }
    }
  }

  /** Null: it is not valid. */
  #decoded(bytes: Buffer): string | null {
    try {
      return this.#text.decode(bytes);
    } catch {
      return null;
    }
  }
}

const NULL: Cell = { kind: "null" };

function tablePart(name: string): string {
  const part = escaped(name);
  return Buffer.byteLength(part) <= TABLE_BYTES ? part : `%h${sha256(part)}`;
}

function escaped(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("/", "%2F").replaceAll("\0", "%00");
}

function realText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

function bytesOf(document: Json): Buffer {
  return Buffer.from(canonicalJson(document), "utf8");
}
