import type Database from "better-sqlite3";

/** A column that is stored: a generated one is computed from the others. */
export interface ForeignColumn {
  readonly name: string;
  /** As declared; empty: none. */
  readonly type: string;
  /** What SQLite makes of the type where it matters how a number or a text is told apart from the other. */
  readonly affinity: "text" | "real" | "other";
}

export interface ForeignTable {
  readonly name: string;
  /** Its CREATE TABLE. */
  readonly sql: string;
  readonly columns: readonly ForeignColumn[];
  /** Columns of the primary key, in its order; empty: none. */
  readonly key: readonly number[];
  /** A name by which the rowid can be asked for; null: there is none. */
  readonly rowid: string | null;
  readonly generated: readonly string[];
}

/** Things of the file that are no tables with rows of their own. */
export interface LeftOut {
  readonly kind: "view" | "virtual table" | "vector table" | "shadow table" | "table of SQLite's own" | "trigger";
  readonly name: string;
}

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly sql: string | null;
}

/**
 * The tables that modules keep their rows in: their names begin with the virtual table's. Known from the modules' sources,
 * since asking SQLite would take the module itself.
 */
const SHADOWS: readonly (readonly [module: RegExp, suffix: RegExp])[] = [
  [/^fts[345]/i, /^_(content|segments|segdir|docsize|stat|data|idx|config)$/i],
  [/^rtree|^geopoly/i, /^_(node|parent|rowid)$/i],
  [/^vec0$/i, /^_(info|chunks|rowids|auxiliary|vector_chunks\d\d|metadatachunks\d\d|metadatatext\d\d)$/i],
];

/** @throws what SQLite throws of a schema that it can't read */
export function readSchema(db: Database.Database): { tables: string[]; sql: Map<string, string>; leftOut: LeftOut[] } {
  const rows = db
    .prepare<[], SchemaRow>("SELECT type, name, sql FROM sqlite_schema WHERE type <> 'index' ORDER BY rowid")
    .all();
  const modules = rows.flatMap(({ type, name, sql }) => {
    const module = type === "table" ? moduleOf(sql) : null;
    return module === null ? [] : [{ name, module }];
  });
  const tables: string[] = [];
  const sql = new Map<string, string>();
  const leftOut: LeftOut[] = [];
  for (const row of rows) {
    const kind = kindOf(row, modules);
    if (kind !== null) leftOut.push({ kind, name: row.name });
    else {
      tables.push(row.name);
      sql.set(row.name, row.sql ?? "");
    }
  }
  return { tables, sql, leftOut };
}

function kindOf({ type, name, sql }: SchemaRow, modules: readonly { name: string; module: string }[]) {
  if (type === "view" || type === "trigger") return type;
  if (/^sqlite_/i.test(name)) return "table of SQLite's own";
  const module = moduleOf(sql);
  if (module !== null) return /^vec|vss/i.test(module) ? "vector table" : "virtual table";
  const isShadow = modules.some(
    (one) =>
      name.toLowerCase().startsWith(`${one.name.toLowerCase()}_`) &&
      SHADOWS.some(([of, suffix]) => of.test(one.module) && suffix.test(name.slice(one.name.length))),
  );
  return isShadow ? "shadow table" : null;
}

/** Of a virtual table. SQLite keeps its statement as `CREATE VIRTUAL TABLE ` and what followed. */
function moduleOf(sql: string | null): string | null {
  if (sql === null || !/^CREATE VIRTUAL TABLE\b/i.test(sql)) return null;
  return /\bUSING\s+["'`[]?(\w+)/i.exec(sql)?.[1] ?? "";
}

/** @throws what SQLite throws */
export function describeTable(db: Database.Database, name: string, sql: string): ForeignTable {
  const found = db
    .prepare<[string], { name: string; type: string; pk: number; hidden: number }>(
      "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid",
    )
    .all(name);
  const stored = found.filter(({ hidden }) => hidden === 0);
  const columns = stored.map((column) => ({
    name: column.name,
    type: column.type,
    affinity: affinityOf(column.type),
  }));
  const key = stored
    .map(({ pk }, index) => ({ pk, index }))
    .filter(({ pk }) => pk > 0)
    .toSorted((a, b) => a.pk - b.pk)
    .map(({ index }) => index);
  const taken = new Set(found.map((column) => column.name.toLowerCase()));
  const alias = ["rowid", "_rowid_", "oid"].find((one) => !taken.has(one)) ?? null;
  const rowid = alias !== null && answers(db, `SELECT ${alias} FROM ${quoted(name)}`) ? alias : null;
  const generated = found.filter(({ hidden }) => hidden > 1).map((column) => column.name);
  return { name, sql, columns, key, rowid, generated };
}

function answers(db: Database.Database, statement: string): boolean {
  try {
    db.prepare(statement);
    return true;
  } catch {
    return false;
  }
}

/** The rules of https://www.sqlite.org/datatype3.html#determination_of_column_affinity, in their order. */
function affinityOf(type: string): ForeignColumn["affinity"] {
  if (/INT/i.test(type)) return "other";
  if (/CHAR|CLOB|TEXT/i.test(type)) return "text";
  if (/BLOB/i.test(type)) return "other";
  return /REAL|FLOA|DOUB/i.test(type) ? "real" : "other";
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
