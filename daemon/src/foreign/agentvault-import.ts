import { basename } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type AdminReplies,
  type AgentName,
  type AgentVaultImportReply,
  type Contract,
  type Json,
  type Key,
  keyText,
  MAIN,
  type Progress,
  sha256,
} from "@vlinder/protocol";
import type { Home } from "../registry/home.ts";
import type { Registry } from "../registry/registry.ts";
import type { StateEngine } from "../state/engine.ts";
import type { Op } from "../state/mutations.ts";
import { SqliteSource } from "../storage/foreign/sqlite-source.ts";
import type { ForeignTable } from "../storage/foreign/sqlite-tables.ts";
import type { VectorIndex } from "../vectors/vector-index.ts";
import { bringWhole } from "./bring-whole.ts";
import { ImportFindings } from "./findings.ts";
import { RowForm } from "./row-form.ts";

export interface AgentVaultImport {
  readonly agent: AgentName;
  /** Absolute: a SQLite file. */
  readonly path: string;
  readonly progress: (progress: Progress) => void;
}

type Reply = AdminReplies["agents.import_agentvault"];

/**
 * Brings the tables of an AgentVault or Agno file, or any other SQLite file, as a new agent: each row is a key, each table a
 * commit, or several where it is large. All or nothing; the file is only read. What did not come is counted and said.
 * @throws conflict: there is such an agent; what `SqliteSource.open` throws
 */
export function importAgentVault(
  agents: Registry<StateEngine, VectorIndex>,
  home: Home,
  { agent, path, progress }: AgentVaultImport,
): Promise<Reply> {
  const open = (): Promise<SqliteSource> => SqliteSource.open(path, home.run);
  return bringWhole(agents, agent, open, (engine, source) =>
    new Importer({ agent, file: basename(path), source, engine, progress }).run(),
  );
}

/** What is in memory at a time, and in one commit. */
const PART_ROWS = 5000;
const PART_BYTES = 8 << 20;
/** Rows read without a break would keep reads of other agents waiting. */
const SLICE_ROWS = 200;
const SLICE_BYTES = 1 << 20;
/** Tables that a reply names: it is one message. */
const NAMED = 200;
/** Declared types of columns for vectors, of sqlite-vec, libSQL and others. */
const VECTOR_TYPE = /vector|\bf(?:16|32|64|loat)\w*(?:_blob\b|\s*\[)/i;

interface Options {
  readonly agent: AgentName;
  readonly file: string;
  readonly source: SqliteSource;
  readonly engine: StateEngine;
  readonly progress: (progress: Progress) => void;
}

type Opened = ReturnType<SqliteSource["table"]> & object;

class Importer {
  readonly #options: Options;
  readonly #findings = new ImportFindings();
  readonly #tables: AgentVaultImportReply["tables"][number][] = [];
  #rows = 0;
  #total = 0;
  #bytes = 0;
  #commits = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  async run(): Promise<Reply> {
    const { agent, source, engine } = this.#options;
    for (const { kind, name } of source.leftOut) this.#findings.add(kind, short(name));
    const contract: Contract = { v: 1, name: agent, merge: { rules: 1, policies: {} } };
    await engine.setContract(contract);
    // All are looked at first: how many rows there are to come, and a damaged one is found before the others are written.
    const opened: Opened[] = [];
    for (const name of source.tables) {
      const found = source.table(name);
      if (typeof found === "string") this.#findings.add("table that can't be read", `${short(name)}: ${short(found)}`);
      else opened.push(found);
      await nextTurn();
    }
    this.#total = opened.reduce((sum, { rows, large }) => sum + rows - large, 0);
    for (const one of opened) await this.#take(one);
    return {
      agent,
      file: this.#options.file,
      sha256: source.hash,
      commits: this.#commits,
      rows: this.#rows,
      bytes: this.#bytes,
      tables: this.#tables.slice(0, NAMED),
      more: Math.max(0, this.#tables.length - NAMED),
      findings: this.#findings.list(),
    };
  }

  async #take({ table, rows: all, large }: Opened): Promise<void> {
    const { source } = this.#options;
    this.#note(table, large);
    const form = new RowForm(table, source.encoding);
    const part = new Part(this.#options, table, form);
    let rows = 0;
    let slice = { rows: 0, bytes: 0 };
    for (const row of source.rows(table, all - large)) {
      if (part.isFull) await part.write(true);
      const { key, hashed } = form.key(row);
      const bytes = form.value(row);
      if (hashed) this.#findings.add("key over 1,024 bytes", keyText(key));
      part.add(key, bytes);
      rows++;
      this.#rows++;
      this.#bytes += bytes.length;
      slice = { rows: slice.rows + 1, bytes: slice.bytes + bytes.length };
      if (slice.rows < SLICE_ROWS && slice.bytes < SLICE_BYTES) continue;
      slice = { rows: 0, bytes: 0 };
      this.#tell();
      await nextTurn();
    }
    await part.write(false);
    this.#tell();
    this.#commits += part.commits;
    this.#tables.push({ table: short(table.name), prefix: form.prefix, rows, commits: part.commits });
  }

  #note({ name, columns, generated }: ForeignTable, large: number): void {
    if (large > 0) this.#findings.add("row over 64 MiB", short(name), large);
    for (const column of generated) this.#findings.add("generated column", short(`${name}.${column}`));
    for (const column of columns) {
      if (VECTOR_TYPE.test(column.type)) this.#findings.add("vector column", short(`${name}.${column.name}`));
    }
  }

  #tell(): void {
    const what = `importing ${this.#options.agent}`;
    this.#options.progress({ what, done: this.#rows, total: this.#total, unit: "rows" });
  }
}

/** What of a table goes into one commit. The first has what the table is, too. */
class Part {
  commits = 0;
  readonly #options: Options;
  readonly #table: ForeignTable;
  readonly #prefix: string;
  readonly #ops = new Map<Key, Op>();
  #most = PART_ROWS + 1;
  #bytes = 0;

  constructor(options: Options, table: ForeignTable, form: RowForm) {
    this.#options = options;
    this.#table = table;
    this.#prefix = form.prefix;
    const { key, bytes } = form.schema();
    this.add(key, bytes);
  }

  get isFull(): boolean {
    return this.#ops.size >= this.#most || this.#bytes >= PART_BYTES;
  }

  /** @throws invalid: two rows have one key, which only a damaged file has */
  add(key: Key, bytes: Buffer): void {
    if (this.#ops.has(key)) throw this.#options.source.damaged(this.#table);
    this.#ops.set(key, { key, value: { hash: sha256(bytes), bytes } });
    this.#bytes += bytes.length;
  }

  /** @param more whether rows of the table are left for another commit */
  async write(more: boolean): Promise<void> {
    const { source, file, engine } = this.#options;
    this.commits++;
    const info: Record<string, Json> = {
      file,
      sha256: source.hash,
      ...(source.logHash === null ? {} : { log: source.logHash }),
      table: short(this.#table.name),
      prefix: this.#prefix,
      ...(more || this.commits > 1 ? { part: this.commits, more } : {}),
    };
    const ops = [...this.#ops.values()];
    this.#ops.clear();
    this.#most = PART_ROWS;
    this.#bytes = 0;
    await engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops, info: { agentvault: info } });
  }
}

/** A name of any length, as a report can have it. */
function short(text: string): string {
  return text.length <= 200 ? text.toWellFormed() : `${text.slice(0, 200).toWellFormed()}…`;
}
