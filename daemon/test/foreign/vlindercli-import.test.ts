import { createHash } from "node:crypto";
import { copyFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type AgentName, type Hash, keyText, sha256, type VlinderCliImportReply } from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { type Core, openCore } from "../../src/daemon-core.ts";
import { createLog } from "../../src/observe/log.ts";
import { loadConfig } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";
import { contents } from "../state/harness.ts";

const OLD = "old" as AgentName;
const sum = (text: string | Uint8Array): string => createHash("sha256").update(text).digest("hex");

async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-vlindercli-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function home(): Promise<Core & { readonly agents: string }> {
  const opened = await openHome(await temporary());
  await writeFile(opened.config, '[storage]\ndurability = "process"\n');
  const core = await openCore({ home: opened, config: await loadConfig(opened, {}), log: createLog("silent") });
  onTestFinished(() => core.close());
  return { ...core, agents: opened.agents };
}

/** A `state.db`, with the tables and hashes of VlinderCLI's own sources. */
class StateDb {
  readonly path: string;
  readonly db: Database.Database;

  constructor(path: string) {
    this.path = path;
    this.db = new Database(path);
    this.db.exec(`PRAGMA journal_mode=WAL;
      CREATE TABLE state_values (hash TEXT PRIMARY KEY, content BLOB NOT NULL);
      CREATE TABLE state_snapshots (hash TEXT PRIMARY KEY, entries TEXT NOT NULL);
      CREATE TABLE state_commits (hash TEXT PRIMARY KEY, snapshot_hash TEXT NOT NULL, parent_hash TEXT NOT NULL);`);
    onTestFinished(() => void this.db.close());
  }

  static async make(): Promise<StateDb> {
    return new StateDb(join(await temporary(), "state.db"));
  }

  value(content: string | Buffer, hash = sum(content)): string {
    this.db.prepare("INSERT OR IGNORE INTO state_values VALUES (?, ?)").run(hash, Buffer.from(content as string));
    return hash;
  }

  snapshot(entries: Record<string, unknown>, text = JSON.stringify(entries), hash = sum(text)): string {
    this.db.prepare("INSERT OR IGNORE INTO state_snapshots VALUES (?, ?)").run(hash, text);
    return hash;
  }

  link(snapshot: string, parent: string, hash = sum(`${snapshot}:${parent}`)): string {
    this.db.prepare("INSERT OR IGNORE INTO state_commits VALUES (?, ?, ?)").run(hash, snapshot, parent);
    return hash;
  }

  /** A commit of a state, with paths in order, as VlinderCLI makes one for each put. */
  commit(parent: string, state: Record<string, string | Buffer>): string {
    const paths = Object.keys(state).toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const entries = Object.fromEntries(paths.map((path) => [path, this.value(state[path] as string)]));
    return this.link(this.snapshot(entries), parent);
  }
}

function importInto(core: Core, path: string, agent = OLD): Promise<VlinderCliImportReply> {
  return core.importVlinderCli({ agent, path, progress: () => undefined });
}

/** The originals' hashes of a branch, newest first. */
async function originals(core: Core, branch = "main"): Promise<unknown[]> {
  const { engine } = core.registry.get(OLD);
  const found: unknown[] = [];
  for await (const { commit } of engine.log(await engine.resolve(branch))) {
    const info = commit.event.info as { vlindercli?: { commit: string } } | undefined;
    if (info?.vlindercli !== undefined) found.push(info.vlindercli.commit);
  }
  return found;
}

const what = ({ findings }: VlinderCliImportReply): Record<string, number> =>
  Object.fromEntries(findings.map((one) => [one.what, one.count]));

test("each commit becomes one of ours, with its state, and values keep their hashes", async () => {
  const file = await StateDb.make();
  const large = Buffer.alloc(200_000, "a large value, ");
  const states: Record<string, string | Buffer>[] = [
    { "/todos.json": "[]" },
    { "/todos.json": '["milk"]', "/é/漢": "" },
    { "/todos.json": '["milk"]', "/é/漢": "", "/large": large },
    { "/todos.json": '["milk"]', "/large": large },
    { "/todos.json": '["milk"]', "/large": large },
    { "/todos.json": "[]", "no slash": "x" },
  ];
  const commits: string[] = [];
  for (const state of states) commits.push(file.commit(commits.at(-1) ?? "", state));
  const core = await home();
  const reply = await importInto(core, file.path);
  expect(reply).toMatchObject({ agent: OLD, commits: 6, values: 5, findings: [] });
  expect(reply.branches).toEqual([{ name: "main", state: expect.any(String), original: commits.at(-1) }]);
  expect(await originals(core)).toEqual(commits.toReversed());

  const { engine } = core.registry.get(OLD);
  const log: Hash[] = [];
  for await (const { hash } of engine.log(await engine.resolve("main"))) log.unshift(hash);
  for (const [index, state] of states.entries()) {
    const at = log[index + 2] as Hash; // behind init and contract
    const found: Record<string, string> = {};
    for await (const { key, hash } of (await engine.view(at)).entries("kv")) found[keyText(key)] = hash;
    const wanted = Object.fromEntries(Object.entries(state).map(([key, content]) => [key, sum(content)]));
    expect(found, `commit ${index}`).toEqual(wanted);
  }
  expect((await engine.verify()).damage).toEqual([]);
});

test("forks become branches, and the newest line is main", async () => {
  const file = await StateDb.make();
  const base = file.commit("", { "/a": "0" });
  const left = file.commit(base, { "/a": "left" });
  const leftest = file.commit(left, { "/a": "leftest" });
  const other = file.commit(left, { "/a": "other" });
  const right = file.commit(base, { "/a": "right" });
  const fresh = file.commit("", { "/b": "a second first commit" });
  const newest = file.commit(right, { "/a": "right", "/c": "newest" });
  const core = await home();
  const { branches, findings } = await importInto(core, file.path);
  expect(findings).toEqual([]);
  const ends = new Map(branches.map(({ name, original }) => [original, name]));
  expect([...ends.keys()].toSorted()).toEqual([leftest, other, fresh, newest].toSorted());
  expect(ends.get(newest)).toBe("main");
  const { engine } = core.registry.get(OLD);
  expect(await contents(engine)).toEqual({ "/a": "right", "/c": "newest" });
  expect(await originals(core)).toEqual([newest, right, base]);
  expect(await contents(engine, ends.get(other))).toEqual({ "/a": "other" });
  expect(await originals(core, ends.get(other))).toEqual([other, left, base]);
  expect(await originals(core, ends.get(leftest))).toEqual([leftest, left, base]);
  expect(await contents(engine, ends.get(fresh))).toEqual({ "/b": "a second first commit" });
  expect((await engine.verify()).damage).toEqual([]);
});

test("what can't be mapped is counted with examples, and the rest comes in", async () => {
  const file = await StateDb.make();
  const good = file.value("good");
  const wrong = file.value("not what its name says", "ab".repeat(32));
  const missing = "cd".repeat(32);
  file.value("nobody asks for it");
  file.snapshot({ "/nobody": good });
  const first = file.link(file.snapshot({ "": good, "/a": good, "/no": 7, "/x": missing, "/y": wrong }), "");
  const lost = file.link(sum("a snapshot that is not here"), first);
  const after = file.link(file.snapshot({ "/a": good, "/b": good }), lost);
  const unreadable = file.link(file.snapshot({}, "[not an object]"), after);
  const renamed = file.link(file.snapshot({ "/c": good }), unreadable, sum("another name"));
  const orphan = file.link(file.snapshot({ "/orphan": good }), sum("a parent that is not here"));
  const forged = file.link(file.snapshot({ "/d": good }, undefined, sum("another hash")), renamed);
  const [one, two] = [sum("one"), sum("two")];
  file.link(file.snapshot({ "/loop": good }), two, one);
  file.link(file.snapshot({ "/loop": good }), one, two);
  file.db.exec("CREATE TABLE state_notes(x); ALTER TABLE state_commits ADD COLUMN author TEXT");
  const core = await home();
  const reply = await importInto(core, file.path);
  expect(what(reply)).toEqual({
    "unknown table": 1,
    "unknown column": 1,
    "missing parent": 1,
    "path that is no key": 1,
    "entry without a hash": 1,
    "missing value": 1,
    "value of another hash": 1,
    "missing snapshot": 1,
    "unreadable snapshot": 1,
    "commit of another hash": 1,
    "snapshot of another hash": 1,
    "commit that nothing leads to": 2,
    "value that no commit reaches": 1,
    "snapshot that no commit reaches": 2,
  });
  const found = new Map(reply.findings.map(({ what: kind, examples }) => [kind, examples]));
  expect(found.get("unknown column")).toEqual(["state_commits.author"]);
  expect(found.get("missing snapshot")).toEqual([lost]);
  expect(found.get("missing value")).toEqual([missing]);
  expect(await originals(core)).toEqual([forged, renamed, after, first]);
  const { engine } = core.registry.get(OLD);
  const branch = reply.branches.find(({ original }) => original === orphan);
  expect(await contents(engine, branch?.name)).toEqual({ "/orphan": "good" });
  // Bytes are not lost because their name is wrong.
  const log: Hash[] = [];
  for await (const { hash } of engine.log(await engine.resolve("main"))) log.unshift(hash);
  const start = await engine.view(log[2] as Hash);
  const entries: string[] = [];
  for await (const { key, hash } of start.entries("kv")) entries.push(`${keyText(key)} ${hash}`);
  expect(entries).toEqual([`/a ${good}`, `/y ${sha256("not what its name says")}`]);
  expect((await engine.verify()).damage).toEqual([]);
});

test("rows of any number, and columns of any type, neither hang nor break it", async () => {
  const file = await StateDb.make();
  const base = file.commit("", { "/a": "0" });
  const next = file.commit(base, { "/a": "0", "/number": "1" });
  const newest = file.commit(next, { "/a": "2" });
  const place = file.db.prepare("UPDATE state_commits SET rowid = ? WHERE hash = ?");
  for (const [row, hash] of [
    [-5n, base],
    [2n ** 53n + 1n, next],
    [2n ** 63n - 1n, newest],
  ] as const)
    place.run(row, hash);
  file.db.prepare("UPDATE state_values SET content = 5 WHERE hash = ?").run(sum("1"));
  const core = await home();
  const reply = await importInto(core, file.path);
  expect(what(reply)).toEqual({ "missing value": 1 });
  expect(await originals(core)).toEqual([newest, next, base]);
});

test("what a killed VlinderCLI left in its log counts, and neither file is touched", async () => {
  const made = await StateDb.make();
  made.db.pragma("wal_checkpoint(TRUNCATE)");
  const commit = made.commit("", { "/a": "only in the log" });
  const folder = await temporary();
  const path = join(folder, "state.db");
  for (const suffix of ["", "-wal"]) await copyFile(made.path + suffix, path + suffix);
  expect((await stat(`${path}-wal`)).size).toBeGreaterThan(0);
  const read = (): Promise<Buffer[]> => Promise.all(["", "-wal"].map((suffix) => readFile(path + suffix)));
  const before = await read();
  const core = await home();
  expect(await importInto(core, path)).toMatchObject({ commits: 1, branches: [{ original: commit }] });
  expect(await read()).toEqual(before);
  expect(await readdir(folder)).toEqual(["state.db", "state.db-wal"]);
});

test("hashes as bytes and in upper case are the same hashes", async () => {
  const path = join(await temporary(), "state.db");
  const db = new Database(path);
  db.exec(`CREATE TABLE state_values (hash BLOB PRIMARY KEY, content TEXT);
    CREATE TABLE state_snapshots (hash TEXT PRIMARY KEY, entries TEXT);
    CREATE TABLE state_commits (hash TEXT PRIMARY KEY, snapshot_hash BLOB, parent_hash TEXT);`);
  const entries = JSON.stringify({ "/a": sum("x") });
  const first = sum(`${sum(entries)}:`);
  const second = sum(`${sum(entries)}:${first}`);
  db.prepare("INSERT INTO state_values VALUES (?, 'x')").run(Buffer.from(sum("x"), "hex"));
  db.prepare("INSERT INTO state_snapshots VALUES (?, ?)").run(sum(entries).toUpperCase(), entries);
  const link = db.prepare("INSERT INTO state_commits VALUES (?, ?, ?)");
  link.run(first, Buffer.from(sum(entries), "hex"), null);
  link.run(second, Buffer.from(sum(entries), "hex"), first.toUpperCase());
  db.close();
  const core = await home();
  expect(await importInto(core, path)).toMatchObject({ commits: 2, values: 1, findings: [] });
  expect(await originals(core)).toEqual([second, first]);
});

test("a name that is taken, a file that is none, a table that is missing: refused, and nothing is left", async () => {
  const file = await StateDb.make();
  file.commit("", { "/a": "x" });
  const core = await home();
  const folder = await temporary();
  await writeFile(join(folder, "text.db"), "no database ".repeat(1000));
  const foreign = new Database(join(folder, "foreign.db"));
  foreign.exec("CREATE TABLE state_values(hash, content)");
  foreign.close();
  const odd = new Database(join(folder, "odd.db"));
  odd.exec(`CREATE TABLE state_values(hash, content); CREATE TABLE state_snapshots(hash, entries);
    CREATE TABLE state_commits(hash TEXT PRIMARY KEY, snapshot_hash, parent_hash) WITHOUT ROWID`);
  odd.close();
  await expect(importInto(core, join(folder, "none.db"))).rejects.toMatchObject({ code: "not_found" });
  await expect(importInto(core, join(folder, "text.db"))).rejects.toMatchObject({
    code: "invalid",
    remedy: /state_values/,
  });
  await expect(importInto(core, join(folder, "foreign.db"))).rejects.toMatchObject({
    message: /no table state_snapshots/,
  });
  await expect(importInto(core, join(folder, "odd.db"))).rejects.toMatchObject({ code: "invalid" });
  await expect(importInto(core, folder)).rejects.toMatchObject({ code: "invalid" });
  file.db.exec("ALTER TABLE state_commits RENAME COLUMN parent_hash TO parent");
  await expect(importInto(core, file.path)).rejects.toMatchObject({
    message: /state_commits has no column parent_hash/,
  });
  file.db.exec("ALTER TABLE state_commits RENAME COLUMN parent TO parent_hash");
  expect(await readdir(core.agents)).toEqual([]);
  await importInto(core, file.path);
  await expect(importInto(core, file.path)).rejects.toMatchObject({ code: "conflict" });
  await core.remove(OLD, { purge: false });
  await expect(importInto(core, file.path)).rejects.toMatchObject({ code: "conflict", remedy: /--purge/ });
  await core.remove(OLD, { purge: true });
  expect(await importInto(core, file.path)).toMatchObject({ commits: 1 });
});

test("many commits and forks: the states are those of the original", async () => {
  const file = await StateDb.make();
  const commits = [""];
  const states: Record<string, string>[] = [{}];
  file.db.exec("BEGIN");
  for (let i = 1; i <= 400; i++) {
    const from = i % 23 === 0 ? Math.floor(i / 2) : i - 1;
    const state = { ...states[from], [`/k/${i % 30}`]: `v${i}` };
    if (i % 7 === 0) delete state[`/k/${(i + 3) % 30}`];
    states.push(state);
    commits.push(file.commit(commits[from] as string, state));
  }
  file.db.exec("COMMIT");
  const core = await home();
  const seen: number[] = [];
  const request = { agent: OLD, path: file.path, progress: ({ done }: { done: number }) => void seen.push(done) };
  const reply = await core.importVlinderCli(request);
  expect(reply).toMatchObject({ commits: 400, findings: [] });
  expect(seen).toEqual([256, 400]);
  const { engine } = core.registry.get(OLD);
  for (const { name, original } of reply.branches) {
    expect(await contents(engine, name), name).toEqual(states[commits.indexOf(original)]);
  }
  expect((await engine.verify()).damage).toEqual([]);
});
