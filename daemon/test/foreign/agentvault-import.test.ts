import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { Core } from "../../src/daemon-core.ts";
import { dump, home, importInto, keysOf, made, NEW, rebuild, temporary, valueOf, what } from "./agentvault-harness.ts";
import { firstGeneration, secondGeneration } from "./agno-files.ts";

const sum = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

interface Info {
  readonly file: string;
  readonly sha256: string;
  readonly log?: string;
  readonly table: string;
  readonly prefix: string;
  readonly part?: number;
  readonly more?: boolean;
}

/** What the commits of an import say, oldest first. */
async function infos(core: Core): Promise<Info[]> {
  const { engine } = core.registry.get(NEW);
  const found: Info[] = [];
  for await (const { commit } of engine.log(await engine.resolve("main"))) {
    const info = commit.event.info?.["agentvault"] as Info | undefined;
    if (info !== undefined) found.unshift(info);
  }
  return found;
}

test("a file of Agno 2: a commit for each table, a key for each row, texts as they are", async () => {
  const path = join(await temporary(), "researcher.db");
  const db = secondGeneration(path);
  onTestFinished(() => void db.close());
  const core = await home();
  const reply = await importInto(core, path);
  expect(reply).toMatchObject({ agent: NEW, file: "researcher.db", commits: 6, rows: 6, more: 0, findings: [] });
  expect(reply.sha256).toBe(sum(await readFile(path)));
  expect(reply.tables.map(({ table, prefix, rows, commits }) => [table, prefix, rows, commits])).toEqual([
    ["agno_sessions", "/agno_sessions/", 2, 1],
    ["agno_memories", "/agno_memories/", 1, 1],
    ["agno_metrics", "/agno_metrics/", 1, 1],
    ["agno_eval_runs", "/agno_eval_runs/", 0, 1],
    ["agno_knowledge", "/agno_knowledge/", 0, 1],
    ["agno_component_configs", "/agno_component_configs/", 2, 1],
  ]);
  expect((await infos(core)).map(({ table, file, sha256 }) => [table, file, sha256])).toEqual(
    reply.tables.map(({ table }) => [table, "researcher.db", reply.sha256]),
  );
  expect((await keysOf(core)).filter((key) => !key.startsWith("/sqlite_schema/"))).toEqual([
    "/agno_component_configs/a%2Fb/1",
    "/agno_component_configs/a%2Fb/2",
    "/agno_memories/m-1",
    "/agno_metrics/d-1",
    "/agno_sessions/6f1c8e9a-0001",
    "/agno_sessions/6f1c8e9a-0002",
  ]);
  expect(await valueOf(core, "/agno_memories/m-1")).toEqual({
    memory_id: "m-1",
    memory: '"Ann likes tea"',
    input: "I like tea",
    agent_id: null,
    team_id: null,
    user_id: "ann@example.com",
    topics: '["food", "drink"]',
    feedback: null,
    created_at: 1_756_200_001,
    updated_at: null,
  });
  // Encoded twice, or once: neither is touched.
  const [twice, once] = (await Promise.all(
    ["0001", "0002"].map((end) => valueOf(core, `/agno_sessions/6f1c8e9a-${end}`)),
  )) as [{ runs: string; team_data: string }, { runs: string }];
  expect(JSON.parse(twice.runs)).toBe(once.runs);
  expect(twice.team_data).toBe("null");
  expect(await valueOf(core, "/sqlite_schema/agno_component_configs")).toMatchObject({
    key: ["component_id", "version"],
    rowid: true,
    sql: expect.stringMatching(/^CREATE TABLE agno_component_configs/),
  });
  const again = await rebuild(core);
  for (const { table } of reply.tables) {
    const columns = (db.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name);
    expect(dump(again, table, columns), table).toEqual(dump(db, table, columns));
  }
  expect((await core.registry.get(NEW).engine.verify()).damage).toEqual([]);
});

test("a file of Agno 1", async () => {
  const path = join(await temporary(), "agent.db");
  const db = firstGeneration(path);
  onTestFinished(() => void db.close());
  const core = await home();
  expect(await importInto(core, path)).toMatchObject({ commits: 2, rows: 2, findings: [] });
  expect(await valueOf(core, "/memory/m-1")).toMatchObject({
    memory: "{'memory': 'Ann likes tea', 'topics': ['food']}",
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
  });
  expect(await valueOf(core, "/agent_sessions/s-1")).toMatchObject({ user_id: "ann", created_at: 1_740_000_000 });
});

test("keys: every kind of primary key, none like another, and those that can't be kept as they are", async () => {
  const long = "é".repeat(600);
  const path = await made((db) => {
    db.exec(`CREATE TABLE any (k PRIMARY KEY, n);
      CREATE TABLE pair (a TEXT, b BLOB, PRIMARY KEY (b, a)) WITHOUT ROWID;
      CREATE TABLE none (x); CREATE TABLE shadowed (rowid, _rowid_, oid);
      CREATE TABLE "" (x TEXT PRIMARY KEY); CREATE TABLE "a/b" (x TEXT PRIMARY KEY); CREATE TABLE "a%2Fb" (x TEXT PRIMARY KEY);
      CREATE TABLE "q""uo'te" (x TEXT PRIMARY KEY, "__proto__" TEXT, "c/o%l" TEXT); CREATE TABLE "${"t".repeat(600)}" (x TEXT PRIMARY KEY);
      INSERT INTO any VALUES (1, 1), ('1', 2), (x'31', 3), (1.5, 4), (-0.0, 5), (NULL, 6), (NULL, 7), (-9223372036854775808, 8),
        ('%t1', 9), (CAST(x'ff' AS TEXT), 10), ('', 11), ('a' || char(0) || 'b', 12), ('漢/字', 13), ('${long}', 14), ('%68', 15);
      INSERT INTO pair VALUES ('a/b', 'c'), ('b', 'c/a'), ('b', x'632f61');
      INSERT INTO none(rowid, x) VALUES (-5, 'a'), (9007199254740993, 'b');
      INSERT INTO shadowed VALUES (1, 2, 3), (1, 2, 3);
      INSERT INTO "" VALUES (''); INSERT INTO "a/b" VALUES ('c'); INSERT INTO "a%2Fb" VALUES ('c');
      INSERT INTO "q""uo'te" VALUES ('"', 'p', 'c'); INSERT INTO "${"t".repeat(600)}" VALUES ('x');`);
  });
  const core = await home();
  const reply = await importInto(core, path);
  expect(reply.rows).toBe(27);
  expect(what(reply)).toEqual({ "key over 1,024 bytes": 1 });
  const keys = (await keysOf(core)).filter((key) => !key.startsWith("/sqlite_schema/"));
  const hashed = `/%h${sum(Buffer.from("t".repeat(600)))}/x`;
  const longKey = `/any/%h${sum(Buffer.from(`/any/${long}`))}`;
  expect(keys.toSorted()).toEqual(
    [
      ...["1", "%t1", "%x31", "%r1.5", "%r-0", "%n6", "%n7", "-9223372036854775808", "%25t1", "%uff", "", "a%00b"].map(
        (part) => `/any/${part}`,
      ),
      "/any/漢%2F字",
      longKey,
      "/any/%2568",
      "/pair/c/a%2Fb",
      "/pair/c%2Fa/b",
      "/pair/%x632f61/b",
      "/none/-5",
      "/none/9007199254740993",
      "/shadowed/1",
      "/shadowed/2",
      "//",
      "/a%2Fb/c",
      "/a%252Fb/c",
      `/q"uo'te/"`,
      hashed,
    ].toSorted(),
  );
  expect(await valueOf(core, longKey)).toEqual({ k: long, n: 14 });
  expect(await valueOf(core, "/any/a%00b")).toEqual({ k: "a\0b", n: 12 });
  expect(await valueOf(core, "/any/%uff")).toEqual({ k: { text: { base64: "/w==" } }, n: 10 });
  expect(Object.entries((await valueOf(core, `/q"uo'te/"`)) as object)).toContainEqual(["__proto__", "p"]);
});

test("values: the five kinds, and what a JSON number can't say", async () => {
  const path = await made((db) =>
    db.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, any, r REAL, j JSON);
      INSERT INTO t VALUES (1, 2.0, 2, '{"a": 1, "a": 2}'), (2, 9007199254740991, 0.1, '1'), (3, 9007199254740992, 1e999, NULL),
        (4, -0.0, 1e20, '{'), (5, 2, NULL, x'00'), (6, '2', 5e-324, 1e20);`),
  );
  const core = await home();
  await importInto(core, path);
  const rows = await Promise.all([1, 2, 3, 4, 5, 6].map((id) => valueOf(core, `/t/${id}`)));
  expect(rows).toEqual([
    { id: 1, any: { real: "2" }, r: 2, j: '{"a": 1, "a": 2}' },
    // JSON is no type of SQLite's: what looks like a number is one there.
    { id: 2, any: 9_007_199_254_740_991, r: 0.1, j: 1 },
    { id: 3, any: { integer: "9007199254740992" }, r: { real: "Infinity" }, j: null },
    { id: 4, any: { real: "-0" }, r: 1e20, j: "{" },
    { id: 5, any: 2, r: null, j: { base64: "AA==" } },
    { id: 6, any: "2", r: 5e-324, j: { real: "100000000000000000000" } },
  ]);
});

test("what has no rows of its own is left out and named; the rest comes in", async () => {
  const path = await made((db) => {
    db.exec(`CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, size AS (length(body)), embedding F32_BLOB(2));
      INSERT INTO notes(body, embedding) VALUES ('tea', x'0000803f00000000');
      CREATE VIEW tea AS SELECT * FROM notes; CREATE TRIGGER t AFTER INSERT ON notes BEGIN SELECT 1; END;
      CREATE VIRTUAL TABLE found USING fts5(body); INSERT INTO found VALUES ('tea');
      CREATE TABLE found_elsewhere (x);
      CREATE TABLE v_chunks (x); CREATE TABLE v_rowids (x); CREATE TABLE v_vector_chunks00 (x); CREATE TABLE v_info (x); CREATE TABLE v_other (x)`);
    // As a file has it that was made where sqlite-vec was loaded: here it is not.
    db.unsafeMode(true);
    db.pragma("writable_schema = ON");
    db.exec(`INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING vec0(embedding float[2])');
      INSERT INTO sqlite_schema VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING "no such"(x)')`);
  });
  const core = await home();
  const reply = await importInto(core, path);
  expect(what(reply)).toEqual({
    "table of SQLite's own": 1,
    view: 1,
    trigger: 1,
    "virtual table": 2,
    "vector table": 1,
    "shadow table": 9,
    "generated column": 1,
    "vector column": 1,
  });
  const examples = new Map(reply.findings.map((one) => [one.what, one.examples]));
  expect(examples.get("vector column")).toEqual(["notes.embedding"]);
  expect(examples.get("vector table")).toEqual(["v"]);
  expect(reply.tables.map(({ table }) => table)).toEqual(["notes", "found_elsewhere", "v_other"]);
  expect(await valueOf(core, "/notes/1")).toEqual({ id: 1, body: "tea", embedding: { base64: "AACAPwAAAAA=" } });
});

test("a table that SQLite can't read is left out with the reason", async () => {
  const path = await made((db) => {
    db.exec("CREATE TABLE good (x); INSERT INTO good VALUES (1); CREATE TABLE bad (x TEXT PRIMARY KEY) WITHOUT ROWID");
    db.unsafeMode(true);
    db.pragma("writable_schema = ON");
    db.exec("UPDATE sqlite_schema SET sql = replace(sql, 'x TEXT', 'x TEXT COLLATE icu') WHERE name = 'bad'");
  });
  const core = await home();
  const reply = await importInto(core, path);
  expect(reply.findings).toMatchObject([
    { what: "table that can't be read", examples: [expect.stringMatching(/^bad: no /)] },
  ]);
  expect(await keysOf(core)).toEqual(["/good/1", "/sqlite_schema/good"]);
});

test("UTF-16, more columns than an expression may be deep, and a row that is too large", async () => {
  const columns = Array.from({ length: 1200 }, (_none, n) => `c${n}`);
  const wide = await made((db) => {
    db.pragma("encoding = 'UTF-16le'");
    db.exec(`CREATE TABLE w (${columns.join(", ")}); CREATE TABLE big (id TEXT PRIMARY KEY, x)`);
    db.prepare("INSERT INTO w (c0, c1, c1199) VALUES (?, ?, ?)").run("é漢\u{1f98b}", 1.5, Buffer.from("x"));
    db.exec("INSERT INTO big VALUES ('too large', zeroblob(67108865)), ('small', 1)");
  });
  const core = await home();
  const reply = await importInto(core, wide);
  expect(what(reply)).toEqual({ "row over 64 MiB": 1 });
  expect(await valueOf(core, "/w/1")).toMatchObject({
    c0: "é漢\u{1f98b}",
    c1: 1.5,
    c2: null,
    c1199: { base64: "eA==" },
  });
  expect((await keysOf(core)).filter((key) => key.startsWith("/big/"))).toEqual(["/big/small"]);
});

test("the file, and what is only in the log beside it: read, and neither touched", async () => {
  const source = join(await temporary(), "live.db");
  const db = secondGeneration(source);
  onTestFinished(() => void db.close());
  db.pragma("journal_mode = WAL");
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.exec(`INSERT INTO agno_memories(memory_id, memory, created_at) VALUES ('in the log', '"tea"', 1)`);
  const folder = await temporary();
  const path = join(folder, "live.db");
  for (const suffix of ["", "-wal"]) await copyFile(source + suffix, path + suffix);
  const look = (): Promise<unknown[]> =>
    Promise.all(
      ["", "-wal"].map(async (suffix) => [(await stat(path + suffix)).mtimeMs, await readFile(path + suffix)]),
    );
  const before = await look();
  const core = await home();
  const reply = await importInto(core, path);
  expect(reply.rows).toBe(7);
  expect(await valueOf(core, "/agno_memories/in the log")).toMatchObject({ memory: '"tea"' });
  const [info] = await infos(core);
  expect(info).toMatchObject({ sha256: sum(await readFile(path)), log: sum(await readFile(`${path}-wal`)) });
  expect(await look()).toEqual(before);
  expect(await readdir(folder)).toEqual(["live.db", "live.db-wal"]);
  expect(await readdir(core.run), "the copy").toEqual([]);
});

describe("refused, with the remedy, and nothing made", () => {
  const header = async (change: (bytes: Buffer) => Buffer | void): Promise<string> => {
    const path = await made((db) => db.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)"));
    const bytes = await readFile(path);
    await writeFile(path, change(bytes) ?? bytes);
    return path;
  };
  test.each<[string, () => Promise<string>, object]>([
    ["not there", async () => join(await temporary(), "none.db"), { code: "not_found", remedy: "check the path" }],
    ["a folder", temporary, { code: "invalid", message: expect.stringContaining("no plain file") }],
    ["empty", () => header(() => Buffer.alloc(0)), { code: "invalid", message: expect.stringContaining("is empty") }],
    [
      "text",
      () => header(() => Buffer.from("no database")),
      { code: "invalid", remedy: expect.stringMatching(/Agno/) },
    ],
    [
      "encrypted",
      () => header((bytes) => Buffer.from(bytes.map((byte, at) => byte ^ ((at * 31 + 7) & 255)))),
      { code: "invalid", message: expect.stringContaining("or an encrypted one") },
    ],
    [
      "newer",
      () => header((bytes) => void (bytes[19] = 3)),
      { message: expect.stringContaining("newer SQLite format") },
    ],
    ["newer schema", () => header((bytes) => void (bytes[47] = 5)), { remedy: expect.stringContaining(".dump") }],
    ["cut off", () => header((bytes) => bytes.subarray(0, 4096)), { remedy: expect.stringContaining(".recover") }],
    ["damaged", () => header((bytes) => bytes.fill(0xff, 4096)), { remedy: expect.stringContaining(".recover") }],
    [
      "without tables",
      () => made((db) => db.exec("CREATE VIEW v AS SELECT 1")),
      { message: expect.stringMatching(/has no table/) },
    ],
  ])("%s", async (_what, path, error) => {
    const core = await home();
    await expect(importInto(core, await path())).rejects.toMatchObject({ code: "invalid", ...error });
    expect(core.registry.list()).toEqual([]);
    expect(await readdir(core.agents)).toEqual([]);
    expect(await readdir(core.run)).toEqual([]);
  });

  test("damage that is met on the way: of what came before it nothing stays", async () => {
    const path = await made((db) => {
      db.exec(`CREATE TABLE good (x); INSERT INTO good VALUES (1); CREATE TABLE big (id INTEGER PRIMARY KEY, x);
        INSERT INTO big VALUES (1, '${"y".repeat(100_000)}')`);
    });
    const bytes = await readFile(path);
    // The number of the next page of a value: counting does not come there, reading does.
    const page = bytes.lastIndexOf("y".repeat(4092)) - 4;
    expect(page % 4096).toBe(0);
    bytes.writeUInt32BE(0xffffffff, page - 3 * 4096);
    await writeFile(path, bytes);
    const core = await home();
    await expect(importInto(core, path)).rejects.toMatchObject({
      code: "invalid",
      remedy: expect.stringMatching(/recover/),
    });
    expect(await readdir(core.agents)).toEqual([]);
  });

  test(
    "bytes changed at random: the rows that come are no more than there were, or it is refused",
    { timeout: 900_000 },
    async () => {
      const core = await home();
      const path = await made((db) => {
        db.exec("CREATE TABLE t (id TEXT PRIMARY KEY, x)");
        const put = db.prepare("INSERT INTO t VALUES (?, ?)");
        for (let n = 0; n < 400; n++) put.run(`id-${n}`, "x".repeat(n));
      });
      const bytes = await readFile(path);
      const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 40 });
      const attempt = async (changes: readonly [number, number][]): Promise<void> => {
        const broken = Buffer.from(bytes);
        for (const [at, byte] of changes) broken[at] = byte;
        await writeFile(path, broken);
        const reply = await importInto(core, path).catch((error: { code?: unknown; remedy?: unknown }) => {
          expect(error).toMatchObject({ code: "invalid", remedy: expect.any(String) });
          return null;
        });
        if (reply === null) return;
        expect(reply.rows).toBeLessThanOrEqual(400);
        await core.remove(NEW, { purge: true });
      };
      await fc.assert(fc.asyncProperty(damage, attempt), { numRuns: IS_LONG ? 60 : 6 });
    },
  );

  test("a second time: the agent is here, or what it left", async () => {
    const path = await made((db) => db.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)"));
    const core = await home();
    await importInto(core, path);
    const before = await core.registry.get(NEW).engine.resolve("main");
    await expect(importInto(core, path)).rejects.toMatchObject({ code: "conflict", remedy: /another name/ });
    expect(await core.registry.get(NEW).engine.resolve("main")).toBe(before);
    await core.remove(NEW, { purge: false });
    await expect(importInto(core, path)).rejects.toMatchObject({ code: "conflict", remedy: /--purge/ });
    await core.remove(NEW, { purge: true });
    expect(await importInto(core, path)).toMatchObject({ rows: 1 });
  });
});

/** A cell as SQLite may have it. */
const cell = fc.oneof(
  fc.constant(null),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.integer().map(BigInt),
  fc.double({ noNaN: true }),
  fc.constantFrom(0, -0, 1e20, 2 ** 53, Infinity, -Infinity),
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("\0", "%", "/", "1", "\u{feff}x", '{"base64": "AA=="}', "null"),
  fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  // Text that is no text.
  fc.uint8Array({ minLength: 1, maxLength: 8 }).map((bytes) => ({ text: Buffer.from(bytes) })),
);
const TYPES = [
  "",
  "TEXT",
  "VARCHAR",
  "JSON",
  "BIGINT",
  "INTEGER",
  "REAL",
  "DOUBLE PRECISION",
  "FLOATING POINT",
  "BLOB",
  "NUMERIC",
  "BOOLEAN",
  "DATE",
];
const KEYS = ["none", "first", "all", "without rowid"] as const;

const tables = fc.record({
  types: fc.array(fc.constantFrom(...TYPES), { minLength: 1, maxLength: 5 }),
  names: fc.uniqueArray(
    fc.string({ minLength: 1, maxLength: 6 }).filter((name) => !name.includes("\0")),
    {
      minLength: 5,
      maxLength: 5,
      selector: (name) => name.toLowerCase(),
    },
  ),
  key: fc.constantFrom(...KEYS),
  rows: fc.array(fc.array(cell, { minLength: 5, maxLength: 5 }), { maxLength: 25 }),
});

test(
  "random tables: from the keys alone the same rows can be made, of the same kinds, to the bit",
  { timeout: 900_000 },
  async () => {
    const core = await home();
    await fc.assert(
      fc.asyncProperty(fc.array(tables, { minLength: 1, maxLength: 3 }), async (all) => {
        const columns: string[][] = [];
        let inserted = 0;
        const path = await made((db) => {
          for (const [index, { types, names, key, rows }] of all.entries()) {
            const quoted = names.slice(0, types.length).map((name) => `"${name.replaceAll('"', '""')}"`);
            columns.push(names.slice(0, types.length));
            const keyed = key === "none" ? "" : `, PRIMARY KEY (${key === "first" ? quoted[0] : quoted.join(", ")})`;
            const declared = quoted.map((name, at) => `${name} ${types[at]}`).join(", ");
            db.exec(`CREATE TABLE t${index} (${declared}${keyed}) ${key === "without rowid" ? "WITHOUT ROWID" : ""}`);
            for (const row of rows) {
              const cells = row.slice(0, types.length);
              const marks = cells.map((one) =>
                one !== null && typeof one === "object" && "text" in one ? "CAST(? AS TEXT)" : "?",
              );
              const bound = cells.map((one) =>
                one !== null && typeof one === "object" && "text" in one ? one.text : one,
              );
              try {
                db.prepare(`INSERT OR IGNORE INTO t${index} VALUES (${marks.join(", ")})`).run(...bound);
              } catch (error) {
                if (!/datatype mismatch/.test(String(error))) throw error;
              }
            }
            inserted += db.prepare(`SELECT count(*) FROM t${index}`).pluck().get() as number;
          }
        });
        const reply = await importInto(core, path);
        expect(reply).toMatchObject({ rows: inserted, commits: all.length });
        expect((await keysOf(core)).length).toBe(inserted + all.length);
        const again = await rebuild(core);
        const original = new Database(path, { readonly: true });
        for (const [index, names] of columns.entries()) {
          expect(dump(again, `t${index}`, names)).toEqual(dump(original, `t${index}`, names));
        }
        original.close();
        await core.remove(NEW, { purge: true });
      }),
      { numRuns: IS_LONG ? 60 : 6 },
    );
  },
);

test("a large table is several commits, each of which says so, and progress is told", async () => {
  const path = await made((db) => {
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
    db.exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5100) INSERT INTO t SELECT i, i FROM n; CREATE TABLE full (x); INSERT INTO full SELECT id FROM t WHERE id <= 5000",
    );
  });
  const core = await home();
  const seen: [number, number | null][] = [];
  const reply = await core.importAgentVault({
    agent: NEW,
    path,
    progress: ({ done, total, unit }) => void seen.push([done, unit === "rows" ? total : null]),
  });
  expect(reply).toMatchObject({
    commits: 3,
    rows: 10_100,
    tables: [
      { rows: 5100, commits: 2 },
      { rows: 5000, commits: 1 },
    ],
  });
  expect((await infos(core)).map(({ part, more }) => [part, more])).toEqual([
    [1, true],
    [2, false],
    [undefined, undefined],
  ]);
  expect(seen.length).toBeGreaterThan(5);
  expect(seen.at(-1)).toEqual([10_100, 10_100]);
});

test.runIf(IS_LONG)("100,000 rows of 4 KB: no more in memory than a part of them", { timeout: 600_000 }, async () => {
  const path = await made((db) => {
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)");
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
      INSERT INTO t SELECT i, hex(randomblob(2000)) FROM n`);
  });
  const core = await home();
  // What is held, garbage included: of the process's own size, what the allocator keeps is a large part.
  let most = 0;
  const progress = (): void => {
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    most = Math.max(most, heapUsed + arrayBuffers);
  };
  progress();
  const idle = most;
  const reply = await core.importAgentVault({ agent: NEW, path, progress });
  expect(reply).toMatchObject({ rows: 100_000, findings: [] });
  expect(most - idle).toBeLessThan(200 * 2 ** 20);
  const original = new Database(path, { readonly: true });
  onTestFinished(() => void original.close());
  for (const id of [1, 4999, 5000, 5001, 77_777, 100_000]) {
    expect(await valueOf(core, `/t/${id}`)).toEqual(original.prepare("SELECT * FROM t WHERE id = ?").get(id));
  }
});
