import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { comparable, shownBlocks, withBlocks } from "../../../test/harness/shown-blocks.ts";
import { firstGeneration, secondGeneration } from "../foreign/agno-files.ts";
import { documentOf, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";

/** Shows how the lines ran; UPDATE_AGENTVAULT=1 writes it anew. */
const DOCUMENT = new URL("../../../docs/agentvault.md", import.meta.url);

let folder: Awaited<ReturnType<typeof temporary>>;
let daemon: RunningDaemon;
let home: string;

beforeAll(async () => {
  folder = await temporary();
  home = join(folder.path, "home");
  process.env["VLINDER_HOME"] = home;
  daemon = await startDaemon(home);
}, 60_000);

afterAll(async () => {
  await daemon?.stop();
  await folder?.remove();
});

test("the transcript of docs/agentvault.md", async () => {
  const db = secondGeneration(join(folder.path, "researcher.db"));
  db.exec(`CREATE VIEW recent_memories AS SELECT * FROM agno_memories; CREATE VIRTUAL TABLE notes USING fts5(body)`);
  db.close();
  let transcript = "";
  for (const line of [
    "import agentvault researcher.db",
    "kv list researcher /agno_sessions/",
    "kv get researcher /agno_memories/m-1",
  ]) {
    const argv = line.split(" ").map((word) => (word === "researcher.db" ? join(folder.path, word) : word));
    const { code, out, err } = await vlinder(argv);
    expect([code, err], line).toEqual([0, ""]);
    transcript += `$ vlinder ${line}\n${out}${out.endsWith("\n") ? "" : "\n"}\n`;
  }
  transcript = `${transcript.trimEnd()}\n`;
  const document = await readFile(DOCUMENT, "utf8");
  if (process.env["UPDATE_AGENTVAULT"] === "1") {
    await writeFile(DOCUMENT, withBlocks(document, new Map([["import", transcript]])));
  } else {
    expect(comparable(transcript)).toBe(comparable(shownBlocks(document).get("import") ?? ""));
  }
});

test("--json, a name from the file, and names that a terminal would obey", async () => {
  const path = join(folder.path, "My_Old Agent.v1.db");
  const db = firstGeneration(path);
  db.exec(`CREATE TABLE "\x1b[31mred" (x); CREATE VIEW "\x1b]0;title\x07" AS SELECT 1`);
  db.close();
  const ran = await vlinder(["import", "agentvault", path, "--json"]);
  expect(documentOf(ran)).toMatchObject({
    agent: "my-old-agent-v1",
    rows: 2,
    commits: 3,
    tables: [{ table: "agent_sessions" }, { table: "memory" }, { table: "\x1b[31mred" }],
    findings: [{ what: "view", count: 1 }],
  });
  const again = await vlinder(["import", "agentvault", path, "--json"]);
  expect([again.code, documentOf(again)]).toMatchObject([1, { error: { code: "conflict" } }]);
  const { out } = await vlinder(["import", "agentvault", path, "--name", "another"], { tty: true });
  expect(out).toContain("red");
  expect(out).not.toContain("\x1b[31mred");
  expect(out).not.toContain("\x1b]0;");
});

test("a daemon that is killed on the way leaves nothing, and the import can be asked for again", async () => {
  const path = join(folder.path, "large.db");
  const db = new Database(path);
  db.pragma("synchronous = OFF");
  db.exec(`CREATE TABLE small (x); INSERT INTO small VALUES (1); CREATE TABLE large (id INTEGER PRIMARY KEY, x TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) INSERT INTO large SELECT i, hex(randomblob(200)) FROM n`);
  db.close();
  const bytes = await readFile(path);
  const argv = ["import", "agentvault", path, "--json"];
  const lost = vlinder(argv);
  // Some of it has been written: the registration comes last.
  const objects = join(home, "agents", "large", "objects.db-wal");
  while (
    !(await readFile(objects).then(
      ({ length }) => length > 1_000_000,
      () => false,
    ))
  )
    await sleep(5);
  process.kill(daemon.pid, "SIGKILL");
  await daemon.stop();
  expect(await readdir(join(home, "agents", "large"))).toContain("bringing");
  expect((await readdir(join(home, "run"))).some((name) => name.startsWith("foreign-"))).toBe(true);

  daemon = await startDaemon(home);
  expect(await readdir(join(home, "agents"))).not.toContain("large");
  expect((await readdir(join(home, "run"))).filter((name) => name.startsWith("foreign-"))).toEqual([]);
  expect(documentOf(await vlinder(argv))).toMatchObject({ agent: "large", rows: 6001, commits: 3 });
  expect(await readdir(join(home, "agents", "large"))).not.toContain("bringing");
  expect((await vlinder(["verify", "large", "--json"])).code).toBe(0);
  expect(await readFile(path)).toEqual(bytes);
  expect((await lost).code).not.toBe(0);
}, 120_000);
