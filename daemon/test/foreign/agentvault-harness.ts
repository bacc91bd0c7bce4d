import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type AgentName, type AgentVaultImportReply, keyText, parseKey } from "@vlinder/protocol";
import { onTestFinished } from "vitest";
import { type Core, openCore } from "../../src/daemon-core.ts";
import { createLog } from "../../src/observe/log.ts";
import { loadConfig } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";
import { MEMORY_FOLDER } from "../../../test/harness/memory-folder.ts";

export const NEW = "researcher" as AgentName;

export async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(MEMORY_FOLDER, "vlinder-agentvault-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function home(): Promise<Core & { readonly agents: string; readonly run: string }> {
  const opened = await openHome(await temporary());
  await writeFile(opened.config, '[storage]\ndurability = "process"\n');
  const core = await openCore({ home: opened, config: await loadConfig(opened, {}), log: createLog("silent") });
  onTestFinished(() => core.close());
  return { ...core, agents: opened.agents, run: opened.run };
}

export async function made(fill: (db: Database.Database) => void, name = "file.db"): Promise<string> {
  const path = join(await temporary(), name);
  const db = new Database(path);
  db.pragma("synchronous = OFF");
  fill(db);
  db.close();
  return path;
}

export function importInto(core: Core, path: string, agent = NEW): Promise<AgentVaultImportReply> {
  return core.importAgentVault({ agent, path, progress: () => undefined });
}

/** What a key holds, as JSON. */
export async function valueOf(core: Core, key: string, agent = NEW): Promise<unknown> {
  const { engine } = core.registry.get(agent);
  const { value } = await engine.find(parseKey(key));
  if (value === null) throw new Error(`there is no key ${key}`);
  return JSON.parse(Buffer.from(await engine.requiredValue(value.hash, value.size)).toString("utf8")) as unknown;
}

export async function keysOf(core: Core, agent = NEW): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of (await core.registry.get(agent).engine.stateOf()).entries("kv")) keys.push(keyText(key));
  return keys;
}

export const what = ({ findings }: AgentVaultImportReply): Record<string, number> =>
  Object.fromEntries(findings.map((one) => [one.what, one.count]));

interface SchemaDocument {
  readonly sql: string;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
}

/**
 * Makes a database of what an import left, from its keys alone, as docs/agentvault.md says that it can be done. A member that
 * is an object says which kind it is; a number is a real in a column of reals, or when it has a fraction.
 */
export async function rebuild(core: Core, agent = NEW): Promise<Database.Database> {
  const db = new Database(":memory:");
  onTestFinished(() => void db.close());
  for (const key of await keysOf(core, agent)) {
    if (!key.startsWith("/sqlite_schema/")) continue;
    const schema = (await valueOf(core, key, agent)) as SchemaDocument;
    db.exec(schema.sql);
  }
  for (const key of await keysOf(core, agent)) {
    const schemaKey = `/sqlite_schema/${key.split("/")[1] ?? ""}`;
    if (key.startsWith("/sqlite_schema/")) continue;
    const { sql, columns } = (await valueOf(core, schemaKey, agent)) as SchemaDocument;
    const name = /^CREATE TABLE ("(?:[^"]|"")*"|\w+)/.exec(sql)?.[1] ?? "";
    const row = (await valueOf(core, key, agent)) as Record<string, unknown>;
    const bound: unknown[] = [];
    const marks = columns.map(({ name: column, type }) => mark(row[column], isReal(type), bound)).join(", ");
    const names = columns.map((column) => `"${column.name.replaceAll('"', '""')}"`).join(", ");
    db.prepare(`INSERT INTO ${name} (${names}) VALUES (${marks})`).run(...bound);
  }
  return db;
}

const isReal = (type: string): boolean => /REAL|FLOA|DOUB/i.test(type) && !/INT|CHAR|CLOB|TEXT|BLOB/i.test(type);

function mark(member: unknown, real: boolean, bound: unknown[]): string {
  if (typeof member === "number") bound.push(real || !Number.isInteger(member) ? member : BigInt(member));
  else if (typeof member !== "object" || member === null) bound.push(member);
  else if ("integer" in member) bound.push(BigInt(String(member.integer)));
  else if ("real" in member) bound.push(Number(member.real));
  else if ("base64" in member) bound.push(Buffer.from(String(member.base64), "base64"));
  else if ("text" in member) {
    bound.push(Buffer.from((member.text as { base64: string }).base64, "base64"));
    return "CAST(? AS TEXT)";
  }
  return "?";
}

/** Every row of a table with the kind of each column, sorted, so that what is compared is all that SQLite has. */
export function dump(db: Database.Database, table: string, columns: readonly string[]): string[] {
  const quoted = columns.map((name) => `"${name.replaceAll('"', '""')}"`);
  // printf's digits tell reals apart that print alike, and -0 from 0; hex() shows bytes that are no valid text.
  const asked = quoted.map(
    (name) =>
      `typeof(${name}) || ':' || CASE typeof(${name}) WHEN 'real' THEN printf('%!.20e', ${name}) ELSE coalesce(hex(${name}), '') END`,
  );
  const rows = db.prepare<[], unknown[]>(`SELECT ${asked.join(", ")} FROM "${table.replaceAll('"', '""')}"`).raw();
  return rows
    .all()
    .map((row) => row.join("|"))
    .toSorted();
}
