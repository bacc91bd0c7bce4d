import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect, serve, type Server } from "@vlinder/agent-runtime";
import type { Act } from "../../src/cli/catalogue.ts";
import { buildProgram } from "../../src/cli/program.ts";
import { flipBit } from "../storage/damage.ts";
import { documentOf, PROGRAM, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";

const BINARY = Buffer.from([0, 0xff, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 10]);
const EVIL = "/e\x1b[31mvil\x07";

let folder: Awaited<ReturnType<typeof temporary>>;
let daemon: RunningDaemon;
/** The agent's code, for what runs it. */
let server: Server;
let agentDir: string;
/** Of an agent that the daemon starts. */
let serverDir: string;
let bucket: string;
/** A file of VlinderCLI's, with nothing in it. */
let stateDb: string;
/** Main's state before the last writes. */
let effect = "";
let past: string;

async function json(...argv: string[]): Promise<Record<string, unknown>> {
  const ran = await vlinder([...argv, "--json"]);
  const document = documentOf(ran);
  if (ran.code !== 0) throw new Error(`${argv.join(" ")}: ${ran.out}`);
  return document;
}

async function writeProcessAgent(executable: string): Promise<void> {
  await mkdir(serverDir, { recursive: true });
  const toml = `name = "server"\nobject_storage = "sqlite://o.db"\nruntime = "process"\nexecutable = "${executable}"\n`;
  await writeFile(join(serverDir, "agent.toml"), toml);
  await writeFile(
    join(serverDir, "main.mjs"),
    `console.log("\\x1b[31mred \\u202e"); console.error("oops"); setInterval(() => console.log("tick"), 100);`,
  );
}

beforeAll(async () => {
  folder = await temporary();
  process.env["VLINDER_HOME"] = join(folder.path, "home");
  // The service's unit is to land in the temporary folder.
  process.env["XDG_CONFIG_HOME"] = join(folder.path, "config");
  daemon = await startDaemon(process.env["VLINDER_HOME"]);
  agentDir = join(folder.path, "todo");
  serverDir = join(folder.path, "server");
  bucket = `file://${join(folder.path, "bucket")}`;
  stateDb = join(folder.path, "state.db");
  const old = new Database(stateDb);
  old.exec(`CREATE TABLE state_values(hash, content); CREATE TABLE state_snapshots(hash, entries);
    CREATE TABLE state_commits(hash, snapshot_hash, parent_hash); CREATE TABLE notes(x)`);
  old.close();
  await json("agent", "new", agentDir);
  await writeFile(
    join(agentDir, "agent.toml"),
    'name = "todo"\nobject_storage = "sqlite://objects.db"\nvector_storage = "sqlite://vectors.db"\n[vectors]\ndimension = 2\n',
  );
  await json("agent", "add", agentDir);
  const agent = await connect({ agent: "todo" });
  await agent.vectors.put("/v/1", [1, 0], { metadata: { source: "a\x1b[31m.md" } });
  await agent.vectors.put("/v/2", [0, 1]);
  const turn = await agent.begin();
  await agent.client.request(agent.agent, "effect.begin", { turn: turn.id, key: EVIL });
  await turn.fail("its process died");
  const { items } = await agent.client.request(agent.agent, "effect.list", { status: "unknown" });
  effect = items[0]?.effect ?? "";
  await agent.close();
  await writeProcessAgent("node main.mjs");
  await json("agent", "add", serverDir);
  server = await serve("todo", ({ input }) => `heard ${input}`);
  await json("run", "todo", "-m", "first", "--session", "s-cases");
  past = String((await json("kv", "put", "todo", "/a", "one"))["state"]);
  await json("kv", "put", "todo", "/a", "two");
  await json("kv", "put", "todo", EVIL, "x");
  await json("init", bucket);
  await json("sync", "push");
}, 60_000);

afterAll(async () => {
  await server?.close();
  await daemon?.stop();
  await folder?.remove();
});

/** A command line that works, and one that is refused by what it asks for. */
interface Case {
  readonly command: string;
  readonly works: () => readonly string[];
  /** Exit code of the one that works; default 0. */
  readonly code?: number;
  readonly fails?: () => readonly string[];
}

const CASES: readonly Case[] = [
  { command: "status", works: () => ["status"] },
  { command: "doctor", works: () => ["doctor"] },
  { command: "reload", works: () => ["reload"] },
  { command: "env", works: () => ["env"], fails: () => ["env", "--agent", "nobody"] },
  { command: "completion", works: () => ["completion", "bash"] },
  { command: "service install", works: () => ["service", "install"] },
  { command: "service uninstall", works: () => ["service", "uninstall"], fails: () => ["service", "uninstall"] },
  {
    command: "agent new",
    works: () => ["agent", "new", join(folder.path, `new-${Math.random().toString(36).slice(2)}`)],
    fails: () => ["agent", "new", agentDir],
  },
  {
    command: "agent plan",
    works: () => ["agent", "plan", agentDir],
    fails: () => ["agent", "plan", join(folder.path, "nothing")],
  },
  {
    command: "agent add",
    works: () => ["agent", "add", agentDir],
    fails: () => ["agent", "add", join(folder.path, "nothing")],
  },
  { command: "agent list", works: () => ["agent", "list"] },
  { command: "agent show", works: () => ["agent", "show", "todo"], fails: () => ["agent", "show", "nobody"] },
  { command: "run", works: () => ["run", "todo", "-m", "hello"], fails: () => ["run", "nobody", "-m", "hello"] },
  {
    command: "session list",
    works: () => ["session", "list", "todo"],
    fails: () => ["session", "list", "nobody"],
  },
  {
    command: "session get",
    works: () => ["session", "get", "todo", "s-cases"],
    fails: () => ["session", "get", "todo", "s-none"],
  },
  {
    command: "agent restart",
    works: () => ["agent", "restart", "server"],
    fails: () => ["agent", "restart", "todo"],
  },
  { command: "logs", works: () => ["logs", "server", "-n", "5"], fails: () => ["logs", "todo"] },
  {
    command: "kv put",
    works: () => ["kv", "put", "todo", "/b", "1"],
    fails: () => ["kv", "put", "todo", "/a", "1", "--expect", "none"],
  },
  { command: "kv get", works: () => ["kv", "get", "todo", "/a"], fails: () => ["kv", "get", "todo", "/nothing"] },
  { command: "kv list", works: () => ["kv", "list", "todo"], fails: () => ["kv", "list", "todo", "--branch", "nope"] },
  {
    command: "kv history",
    works: () => ["kv", "history", "todo", "/a"],
    fails: () => ["kv", "history", "nobody", "/a"],
  },
  {
    command: "kv blame",
    works: () => ["kv", "blame", "todo", "/"],
    fails: () => ["kv", "blame", "todo", "--branch", "nope"],
  },
  {
    command: "kv delete",
    works: () => ["kv", "delete", "todo", "/b"],
    fails: () => ["kv", "delete", "todo", "/a", "--expect", "ffff"],
  },
  {
    command: "vector search",
    works: () => ["vector", "search", "todo", "--vector", "[1, 0.5]"],
    fails: () => ["vector", "search", "todo", "--vector", "[1, 0, 0]"],
  },
  { command: "vector list", works: () => ["vector", "list", "todo"], fails: () => ["vector", "list", "nobody"] },
  {
    command: "vector reindex",
    works: () => ["vector", "reindex", "todo"],
    fails: () => ["vector", "reindex", "nobody"],
  },
  { command: "log", works: () => ["log", "todo", "-n", "3"], fails: () => ["log", "todo", "--branch", "nope"] },
  { command: "show", works: () => ["show", "todo", "main"], fails: () => ["show", "todo", "deadbeef"] },
  { command: "diff", works: () => ["diff", "todo", past, "main"], fails: () => ["diff", "todo", "main", "nope"] },
  {
    command: "fork",
    works: () => ["fork", "todo", "--from", past, "--name", `f-${Math.random().toString(36).slice(2)}`],
    fails: () => ["fork", "todo", "--name", "main"],
  },
  {
    command: "promote",
    works: () => ["promote", "todo", "p1", "--into", "p2"],
    fails: () => ["promote", "todo", "main"],
  },
  {
    command: "rewind",
    works: () => ["rewind", "todo", "--to", "main"],
    fails: () => ["rewind", "todo", "--to", "nope"],
  },
  { command: "merge", works: () => ["merge", "todo", "main"], fails: () => ["merge", "todo", "nope"] },
  { command: "branch list", works: () => ["branch", "list", "todo"], fails: () => ["branch", "list", "nobody"] },
  {
    command: "branch delete",
    works: () => ["branch", "delete", "todo", "x1"],
    fails: () => ["branch", "delete", "todo", "nope"],
  },
  { command: "reflog", works: () => ["reflog", "todo"], fails: () => ["reflog", "nobody"] },
  { command: "verify", works: () => ["verify", "todo"], fails: () => ["verify", "todo", "--at", "nope"] },
  { command: "prove", works: () => ["prove", "todo", "/a"], fails: () => ["prove", "todo", "/a", "--at", "nope"] },
  {
    command: "effect list",
    works: () => ["effect", "list", "todo", "--turn", "t-none"],
    fails: () => ["effect", "list", "nobody"],
  },
  {
    command: "effect resolve",
    works: () => ["effect", "resolve", "todo", effect, "--done"],
    fails: () => ["effect", "resolve", "todo", "e-0000", "--done"],
  },
  { command: "gc", works: () => ["gc", "todo"], fails: () => ["gc", "todo", "--undo"] },
  {
    command: "forget",
    works: () => ["forget", "todo", "/a", "--dry-run"],
    fails: () => ["forget", "todo", "/never/there", "--dry-run"],
  },
  { command: "init", works: () => ["init", bucket], fails: () => ["init", "ftp://example.org/vault"] },
  { command: "clone", works: () => ["clone", bucket], fails: () => ["clone", join(folder.path, "no-bucket")] },
  { command: "sync status", works: () => ["sync", "status", "todo"], fails: () => ["sync", "status", "nobody"] },
  { command: "sync push", works: () => ["sync", "push", "todo"], fails: () => ["sync", "push", "nobody"] },
  { command: "sync pull", works: () => ["sync", "pull"], fails: () => ["sync", "pull", "nobody"] },
  { command: "vault devices", works: () => ["vault", "devices"] },
  { command: "vault request", works: () => ["vault", "request", "--name", "desk"] },
  {
    command: "sync databases",
    works: () => ["sync", "databases", "todo"],
    fails: () => ["sync", "databases", "nobody"],
  },
  {
    command: "sync drill",
    works: () => ["sync", "drill", "todo"],
    fails: () => ["sync", "drill", "--keep", folder.path],
  },
  {
    command: "export",
    works: () => ["export", "todo", join(folder.path, "todo.tar"), "--force"],
    fails: () => ["export", "todo", folder.path],
  },
  {
    command: "import archive",
    works: () => ["import", join(folder.path, "todo.tar"), "--into", "todo"],
    fails: () => ["import", join(folder.path, "todo.tar")],
  },
  {
    command: "import vlindercli",
    works: () => ["import", "vlindercli", stateDb, "--agent", `old-${Math.random().toString(36).slice(2)}`],
    fails: () => ["import", "vlindercli", stateDb, "--agent", "todo"],
  },
  {
    command: "import agentvault",
    works: () => ["import", "agentvault", stateDb, "--name", `old-${Math.random().toString(36).slice(2)}`],
    fails: () => ["import", "agentvault", stateDb, "--name", "todo"],
  },
  { command: "agent remove", works: () => ["agent", "remove", "spare"], fails: () => ["agent", "remove", "nobody"] },
];
/** One ends the daemon, the next does not end, others need a provider or an encrypted vault: they have tests of their own. */
const APART = [
  "stop",
  "kv watch",
  "replay",
  "provider list",
  "provider set",
  "provider test",
  "sync retire",
  "vault add",
  "vault distrust",
  "vault rotate",
];

const noAction: Act = () => async () => undefined;

async function leaves(): Promise<{ path: string; command: Command }[]> {
  const program = await buildProgram(null, noAction, { out: () => undefined, err: () => undefined });
  const walk = (command: Command, path: string): { path: string; command: Command }[] =>
    command.commands.length === 0
      ? [{ path, command }]
      : command.commands.flatMap((one) => walk(one, `${path} ${one.name()}`.trim()));
  return walk(program, "");
}

/** What a case needs that the one before used up. */
async function prepare(command: string): Promise<void> {
  if (command === "branch delete") await vlinder(["fork", "todo", "--name", "x1"]);
  if (command === "promote") {
    await vlinder(["fork", "todo", "--name", "p1"]);
    await vlinder(["fork", "todo", "--name", "p2"]);
    await vlinder(["kv", "put", "todo", "/p", String(Math.random()), "--branch", "p1"]);
  }
  if (command === "kv delete") await vlinder(["kv", "put", "todo", "/b", "1"]);
  if (command === "service uninstall") await vlinder(["service", "install"]);
  if (command === "agent remove") {
    const dir = join(folder.path, "spare");
    await vlinder(["agent", "new", dir]);
    await vlinder(["agent", "add", dir]);
  }
}

test("kv blame names the commit of each key, and kv watch gives a line for each commit until it is ended", async () => {
  const { state } = await json("kv", "put", "todo", "/w/1", "one");
  const blamed = await json("kv", "blame", "todo", "/w/");
  expect(blamed["items"]).toMatchObject([{ key: "/w/1", state, event: "kv.put", turn: null }]);
  const { out } = await vlinder(["kv", "blame", "todo", "/w/"]);
  expect(out).toMatch(new RegExp(`/w/1 +${String(state).slice(0, 7)}`));

  const watching = (...more: string[]) => {
    const child = spawn(process.execPath, [PROGRAM, "kv", "watch", "todo", "/w/", "--from", past, ...more]);
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
    const line = async (wanted: string): Promise<string> => {
      for (const end = Date.now() + 20_000; !text.includes(wanted) && Date.now() < end;) await sleep(20);
      return text;
    };
    return { child, line };
  };
  const [machine, person] = [watching("--json"), watching()];
  expect(JSON.parse((await machine.line("/w/1")).trim())).toMatchObject({
    state,
    changes: [{ key: "/w/1", size: 3 }],
  });
  await json("kv", "put", "todo", "/not-watched", "x");
  const { state: gone } = await json("kv", "delete", "todo", "/w/1");
  const lines = (await machine.line(String(gone))).trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { state: string }).state)).toEqual([state, gone]);
  expect(await person.line("  -")).toMatch(/kv\.put[^]*  ~  \/w\/1 [^]*kv\.delete[^]*  -  \/w\/1/);
  for (const { child } of [machine, person]) {
    child.kill("SIGINT");
    await once(child, "exit");
  }
  const refused = await vlinder(["kv", "watch", "todo", "--branch", "nope", "--json"]);
  expect([refused.code, documentOf(refused)]).toMatchObject([1, { error: { code: "not_found" } }]);
}, 60_000);

test("logs -f goes on until it is ended; what can't be started is shown with what to do", async () => {
  const child = spawn(process.execPath, [PROGRAM, "logs", "server", "-n", "2", "-f", "--json"]);
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
  const count = () => text.split("\n").length - 1;
  for (const end = Date.now() + 20_000; count() < 8 && Date.now() < end;) await sleep(20);
  child.kill("SIGINT");
  await once(child, "exit");
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { time: string; text: string });
  expect(lines.length).toBeGreaterThanOrEqual(8);
  const times = lines.map(({ time }) => time);
  expect(times).toEqual(times.toSorted());
  const all = await vlinder(["logs", "server", "-n", "100000"]);
  expect(all.out).toMatch(/vlinderd: started, pid \d+/);
  expect(all.out).toMatch(/Z {2}oops/);
  expect(all.out).toContain("\\x1b[31mred");
  expect((await vlinder(["logs", "server", "-n", "0"])).code).toBe(2);

  expect((await vlinder(["status"])).out).toMatch(/server +running +main/);
  expect((await vlinder(["agent", "show", "server"])).out).toMatch(/process +running {3}pid \d+ {3}up \d+ s/);
  await writeProcessAgent("./nowhere");
  expect((await vlinder(["agent", "add", serverDir])).out).toMatch(/note: its process could not be started/);
  const status = await vlinder(["status"]);
  expect(status.out).toMatch(/server +failed +main/);
  expect(status.out).toMatch(/server: its process could not be started\nerror: .*nowhere.*\n {2}what to do: correct/);
  expect((await vlinder(["agent", "restart", "server"])).code).toBe(1);
  expect((await vlinder(["doctor"])).out).toMatch(/server: its process is failed: there is no program/);
  await writeProcessAgent("node main.mjs");
  expect((await vlinder(["agent", "add", serverDir])).out).not.toContain("note:");
  expect((await vlinder(["status"])).out).toMatch(/server +running +main/);
}, 60_000);

test("a proof goes to a file, and is checked from there with no daemon", async () => {
  const file = join(folder.path, "proof.json");
  const made = await json("prove", "todo", "/a", "--at", past, "--out", file);
  expect(made).toMatchObject({ present: true, state: past });
  const offline = { env: { VLINDER_URL: "nats://127.0.0.1:1", VLINDER_HOME: join(folder.path, "nowhere") } };
  const check = (...more: string[]) => vlinder(["prove", "todo", "/a", "--check", file, ...more, "--json"], offline);
  expect(documentOf(await check("--at", past))).toMatchObject({
    ok: true,
    trusted: true,
    present: true,
    hash: made["hash"],
  });
  expect(documentOf(await check())).toMatchObject({ ok: true, trusted: false, state: past });
  const people = await vlinder(["prove", "todo", "/a", "--check", file], offline);
  expect(people.out).toContain("the proof holds: /a is ");
  expect(people.out).toContain(`if you trust the commit ${past}`);
  for (const argv of [
    ["todo", "/b", "--check", file],
    ["other", "/a", "--check", file],
    ["todo", "/a", "--vectors", "--check", file],
    ["todo", "/a", "--at", "f".repeat(64), "--check", file],
    ["todo", "/a", "--check", join(agentDir, "agent.toml")],
  ]) {
    const ran = await vlinder(["prove", ...argv, "--json"], offline);
    expect([ran.code, documentOf(ran)], argv.join(" ")).toMatchObject([1, { error: { code: "invalid" } }]);
  }
  for (const more of [
    ["--at", "main"],
    ["--out", "x"],
  ])
    expect((await check(...more)).code).toBe(2);
  expect((await vlinder(["prove", "todo", "/a", "--check", join(folder.path, "no-such-file")])).code).toBe(2);
  expect((await vlinder(["prove", "todo", "/a", "--out", join(folder.path, "no", "folder")])).code).toBe(2);
  await writeFile(file, (await readFile(file, "utf8")).replace('"key":"/a"', '"key":"/A"'));
  expect((await check()).code).toBe(1);
});

test("effects are listed with what to do, and resolved by a person's word", async () => {
  const listed = await vlinder(["effect", "list", "todo", "--unknown"]);
  expect(listed.out).toMatch(new RegExp(`${effect} .*unknown`));
  expect(listed.out).toContain("vlinder effect resolve todo EFFECT --done [--result JSON] | --not-done");
  expect(listed.out.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  for (const wrong of [[], ["--done", "--not-done"], ["--not-done", "--result", "1"]]) {
    expect((await vlinder(["effect", "resolve", "todo", effect, ...wrong])).code, wrong.join(" ")).toBe(2);
  }
  expect((await vlinder(["effect", "resolve", "todo", "mail", "--done"])).code).toBe(2);
  const noJson = await vlinder(["effect", "resolve", "todo", effect, "--done", "--result", "{", "--json"]);
  expect([noJson.code, documentOf(noJson)]).toMatchObject([1, { error: { code: "invalid" } }]);
  await writeFile(join(folder.path, "result.json"), '{"sent":true}');
  const { state, branch } = await json("effect", "resolve", "todo", effect.slice(0, 8), "--not-done");
  expect(branch).toMatch(/^turn\/t-/);
  expect((await vlinder(["show", "todo", String(state)])).out).toMatch(/event +effect .*: not done, as a person said/);
  const file = `@${join(folder.path, "result.json")}`;
  const done = await json("effect", "resolve", "todo", effect, "--done", "--result", file);
  expect((await vlinder(["show", "todo", String(done["state"])])).out).toMatch(/result +[0-9a-f]{7}, 13 B/);
  const again = await vlinder(["effect", "resolve", "todo", effect, "--done"]);
  expect(again.out).toContain("was said before");
  expect((await vlinder(["effect", "list", "todo"])).out).toMatch(/done .*13 B, as a person said/);
  expect((await vlinder(["effect", "resolve", "todo", effect, "--not-done"])).code).toBe(1);
});

test("there is a case for every command", async () => {
  const paths = (await leaves()).map(({ path }) => path);
  expect([...CASES.map(({ command }) => command), ...APART].toSorted()).toEqual(paths.toSorted());
});

describe.each(CASES)("$command", ({ command, works, code = 0, fails }) => {
  test("with --json is one document", async () => {
    await prepare(command);
    const ran = await vlinder([...works(), "--json"]);
    const document = documentOf(ran);
    expect([ran.code, document["error"] ?? null]).toEqual([code, null]);
  });

  test("for people says something, and nothing that steers the terminal", async () => {
    await prepare(command);
    for (const tty of [false, true]) {
      const ran = await vlinder(works(), { tty, env: { NO_COLOR: "1" } });
      if (tty && ["promote", "service uninstall", "branch delete", "kv delete", "agent remove"].includes(command))
        continue;
      expect(ran.code).toBe(code);
      if (!tty) expect(ran.err).toBe("");
      expect(ran.out).not.toBe("");
      if (command !== "kv get" && command !== "completion") {
        expect(ran.out.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
      }
    }
  });

  test("an unknown option is wrong usage", async () => {
    const ran = await vlinder([...works(), "--nonsense", "--json"]);
    expect(ran.code).toBe(2);
    expect(documentOf(ran)).toMatchObject({ error: { code: "invalid", message: "unknown option '--nonsense'" } });
    const told = await vlinder([...works(), "--nonsense"]);
    expect(told).toMatchObject({ code: 2, out: "" });
  });

  if (fails === undefined) return;
  test("refused, it is one error document, or lines on standard error; exit code 1", async () => {
    const argv = fails();
    const ran = await vlinder([...argv, "--json"]);
    expect(documentOf(ran)).toEqual({
      error: {
        code: expect.stringMatching(/^[a-z_]+$/),
        message: expect.any(String),
        retryable: expect.any(Boolean),
        details: expect.any(Object),
      },
    });
    expect(ran.code).toBe(1);
    const told = await vlinder(argv);
    expect(told).toMatchObject({ code: 1, out: "" });
    expect(told.err).toMatch(/^error: .+ \[[a-z_]+\]\n/);
    expect(told.err).toContain("\n  what to do: ");
  });
});

test("sync databases --get brings a copy from the bucket to a new folder, and says where it is", async () => {
  expect((await vlinder(["init", bucket])).code).toBe(0);
  expect((await vlinder(["sync", "databases", "todo"])).code).toBe(0);
  const into = join(folder.path, "copies");
  const got = await vlinder(["sync", "databases", "todo", "--get", into]);
  expect([got.code, got.err]).toEqual([0, ""]);
  expect(got.out).toMatch(/^todo: {3}made .* by [0-9a-f]{7}$/m);
  const file = join(into, "todo", "objects.db");
  expect(got.out).toContain(file);
  expect(String((await readFile(file)).subarray(0, 15))).toBe("SQLite format 3");
  const again = await vlinder(["sync", "databases", "todo", "--get", into, "--json"]);
  expect(again.code).toBe(1);
  expect(documentOf(again)).toMatchObject({ agents: [{ agent: "todo", files: [], error: { code: "conflict" } }] });
});

describe("wrong usage is exit code 2", () => {
  test.each([
    [["kv"]],
    [["nonsense"]],
    [["kv", "nonsense"]],
    [["kv", "get", "todo"]],
    [["kv", "get", "todo", "/a", "more"]],
    [["kv", "get", "Todo", "/a"]],
    [["kv", "get", "todo", ""]],
    [["kv", "get", "todo", "/a", "--at", "main@noon"]],
    [["fork", "todo", "--name", "f", "--from", "@"]],
    [["log", "todo", "--all", "--branch", "main"]],
    [["log", "todo", "--graph", "--turn", "t-1", "--at", "main", "--branch", "main"]],
    [["kv", "get", "todo", "/a", "--at", "ffff", "--branch", "main"]],
    [["kv", "put", "todo", "/a", "1", "--expect", "xyz"]],
    [["kv", "put", "todo", "/a", "@/no/such/file"]],
    [["log", "todo", "--limit", "0"]],
    [["log", "todo", "--limit", "many"]],
    [["fork", "todo"]],
    [["fork", "todo", "--name", "-x"]],
    [["rewind", "todo"]],
    [["vector", "search", "todo"]],
    [["vector", "search", "todo", "--vector", "1"]],
    [["vector", "search", "todo", "--vector", "nope"]],
    [["vector", "search", "todo", "--text", "hello", "--vector", "[1, 0]"]],
    [["completion", "tcsh"]],
    [["import", "todo.tar", "--into", "todo", "--name", "other"]],
    [["import", "vlindercli", "/Not An Agent/state.db"]],
    [["import", "agentvault", "/\u6f22.db"]],
    [["import", "agentvault", "/admin.db"]],
  ])("%j", async (argv) => {
    expect((await vlinder(argv)).code).toBe(2);
    const ran = await vlinder([...argv, "--json"]);
    expect(ran.code).toBe(2);
    expect(documentOf(ran)).toMatchObject({ error: { code: "invalid" } });
  });

  test("--text of an agent that declares no embeddings says what to declare", async () => {
    const { code, err } = await vlinder(["vector", "search", "todo", "--text", "hello"]);
    expect(code).toBe(1);
    expect(err).toContain("[requirements.services.embed]");
  });
});

describe("values", () => {
  test("standard input and files go in and come out byte for byte", async () => {
    expect((await vlinder(["kv", "put", "todo", "/bin", "-"], { stdin: [BINARY] })).code).toBe(0);
    expect((await vlinder(["kv", "get", "todo", "/bin"])).bytes).toEqual(BINARY);
    const file = join(folder.path, "value.bin");
    await writeFile(file, BINARY);
    await json("kv", "put", "todo", "/bin2", `@${file}`);
    expect((await vlinder(["kv", "get", "todo", "/bin2"])).bytes).toEqual(BINARY);
    expect((await json("kv", "get", "todo", "/bin2"))["value"]).toEqual({ base64: BINARY.toString("base64") });
    expect((await json("kv", "get", "todo", "/a"))["value"]).toBe("two");
  });

  test("a terminal gets no bytes that it would obey", async () => {
    await vlinder(["kv", "put", "todo", "/bin", "-"], { stdin: [BINARY] });
    expect((await vlinder(["kv", "get", "todo", "/bin"], { tty: true })).out).toContain("not text: 8 B");
    await vlinder(["kv", "put", "todo", "/esc", "-"], { stdin: [Buffer.from("a\x1b[31m\tb\nc\n")] });
    expect((await vlinder(["kv", "get", "todo", "/esc"], { tty: true })).out).toBe("a\\x1b[31m    b\nc\n");
  });

  test("what is too large to be a vector is refused before it is read whole", async () => {
    let read = 0;
    const endless = (function* () {
      for (; read < 100; read++) yield Buffer.alloc(100 * 1024);
    })();
    const ran = await vlinder(["vector", "search", "todo", "--vector", "-", "--json"], { stdin: endless });
    expect(read).toBeLessThan(10);
    expect([ran.code, documentOf(ran)]).toMatchObject([1, { error: { code: "too_large" } }]);
  });

  test("large values, from standard input and files, to standard output and files", async () => {
    const large = Buffer.from(Array.from({ length: 300_000 }, (_, i) => `${i}\n`).join(""));
    const [from, to] = [join(folder.path, "large.in"), join(folder.path, "large.out")];
    await writeFile(from, large);
    const quarter = Math.ceil(large.length / 4);
    const pieces = [0, 1, 2, 3].map((i) => large.subarray(i * quarter, (i + 1) * quarter));
    const hash = String((await json("kv", "put", "todo", "/large", `@${from}`))["hash"]);
    const piped = await vlinder(["kv", "put", "todo", "/piped", "-"], { stdin: pieces, tty: true });
    expect(piped.out).toContain("/piped   2.0 MB");
    expect(piped.err).toContain("sending");
    expect((await json("kv", "put", "todo", "/large", `@${from}`, "--expect", hash))["hash"]).toBe(hash);
    expect((await vlinder(["kv", "put", "todo", "/large", `@${from}`, "--expect", "none"])).code).toBe(1);

    for (const key of ["/large", "/piped"]) {
      const got = await vlinder(["kv", "get", "todo", key]);
      expect([got.code, Buffer.compare(got.bytes, large)]).toEqual([0, 0]);
    }
    expect(await json("kv", "get", "todo", "/large", "-o", to)).toMatchObject({ file: to, hash, size: large.length });
    expect(Buffer.compare(await readFile(to), large)).toBe(0);
    expect((await readdir(folder.path)).filter((name) => name.includes("large.out"))).toEqual(["large.out"]);
    expect((await vlinder(["kv", "get", "todo", "/large"], { tty: true })).out).toContain("to a file: -o FILE");
    const refused = await vlinder(["kv", "get", "todo", "/large", "--json"]);
    expect([refused.code, documentOf(refused)]).toMatchObject([1, { error: { code: "too_large" } }]);

    const text = async (range: string): Promise<string> =>
      (await vlinder(["kv", "get", "todo", "/large", "--range", range])).out;
    const behind = large.length - 7;
    expect([await text("0:4"), await text(`${behind}:`), await text(":0")]).toEqual(["0\n1\n", "299999\n", ""]);
    expect(await text(`${behind}:${large.length + 7}`)).toBe("299999\n");
    expect((await json("kv", "get", "todo", "/large", "--range", "0:4"))["value"]).toBe("0\n1\n");
    expect((await vlinder(["kv", "get", "todo", "/large", "--range", `${large.length + 1}:`])).code).toBe(1);
    for (const wrong of [":", "4:0", "a:b", "1", "-1:"]) {
      expect((await vlinder(["kv", "get", "todo", "/large", `--range=${wrong}`])).code).toBe(2);
    }
    expect((await vlinder(["kv", "get", "todo", "/large", "-o", join(folder.path, "no", "where")])).code).toBe(2);
    expect((await vlinder(["kv", "get", "todo", "/nothing", "-o", to])).code).toBe(1);
    expect(Buffer.compare(await readFile(to), large)).toBe(0);
  }, 60_000);

  test("a prefix of the value's hash is enough to expect it", async () => {
    const { hash } = (await json("kv", "put", "todo", "/cas", "1")) as { hash: string };
    const wrong = hash.startsWith("0000") ? "1111" : "0000";
    expect((await vlinder(["kv", "put", "todo", "/cas", "2", "--expect", wrong])).code).toBe(1);
    expect((await vlinder(["kv", "put", "todo", "/cas", "2", "--expect", hash.slice(0, 6)])).code).toBe(0);
    expect((await vlinder(["kv", "put", "todo", "/cas", "3", "--expect", hash.slice(0, 6)])).code).toBe(1);
    expect((await json("kv", "get", "todo", "/cas"))["value"]).toBe("2");
  });

  test("deleting what is not there is told, with exit code 1", async () => {
    const ran = await vlinder(["kv", "delete", "todo", "/never", "--json"]);
    expect([ran.code, documentOf(ran)["deleted"]]).toEqual([1, false]);
  });

  test("the past and branches are read by short names", async () => {
    expect((await vlinder(["kv", "get", "todo", "/a", "--at", past.slice(0, 8)])).out).toBe("one");
    await json("fork", "todo", "--from", past.slice(0, 8), "--name", "old");
    await json("kv", "put", "todo", "/a", "three", "--branch", "old");
    expect((await vlinder(["kv", "get", "todo", "/a", "--branch", "old"])).out).toBe("three");
    expect((await vlinder(["kv", "get", "todo", "/a"])).out).toBe("two");
    expect((await vlinder(["diff", "todo", past.slice(0, 8), "old"])).out).toBe("~  /a  3 B → 5 B\n1 changed\n");
  });

  test("a list follows all pages and stays at one state", async () => {
    const agent = await connect({ agent: "todo" });
    const keys = Array.from({ length: 1205 }, (_, i) => `/many/${String(i).padStart(4, "0")}`);
    await agent.kv.batch(keys.slice(0, 1000).map((key) => ({ op: "put", key, value: "x" })));
    await agent.kv.batch(keys.slice(1000).map((key) => ({ op: "put", key, value: "x" })));
    await agent.close();
    const all = (await json("kv", "list", "todo", "/many/")) as { items: { key: string }[]; next: null };
    expect([all.items.map(({ key }) => key), all.next]).toEqual([keys, null]);
    const some = (await json("kv", "list", "todo", "/many/", "--limit", "1100")) as { items: object[]; next: string };
    expect([some.items.length, some.next]).toEqual([1100, keys[1099]]);
    const difference = (await json("diff", "todo", past, "main")) as { items: { key: string }[] };
    expect(difference.items.filter(({ key }) => key.startsWith("/many/"))).toHaveLength(1205);
  });
});

describe("output", () => {
  test("colour only where it is wanted, and the same words", async () => {
    const argv = ["kv", "list", "todo", "/a"];
    const piped = await vlinder(argv);
    const terminal = await vlinder(argv, { tty: true });
    const noColor = await vlinder(argv, { tty: true, env: { NO_COLOR: "1" } });
    // oxlint-disable-next-line no-control-regex
    expect(terminal.out).toMatch(/\x1b\[2m/);
    expect(noColor.out).toBe(piped.out);
    // oxlint-disable-next-line no-control-regex
    expect(terminal.out.replace(/\x1b\[\d+m/g, "")).toBe(piped.out);
    expect(piped.out).toContain("\n/a ");
  });

  test("keys with escape sequences are written out", async () => {
    const { out } = await vlinder(["kv", "list", "todo", "/e"], { tty: true, env: { NO_COLOR: "1" } });
    expect(out).toContain("/e\\x1b[31mvil\\x07");
    expect((await vlinder(["vector", "search", "todo", "--vector", "[1,0]"])).out).toContain("\\u001b[31m.md");
  });

  test("log pages by --after", async () => {
    const first = (await json("log", "todo", "--limit", "2")) as { items: { hash: string }[]; next: string };
    const second = (await json("log", "todo", "--limit", "2", "--after", first.next.slice(0, 12))) as {
      items: { hash: string }[];
    };
    const both = (await json("log", "todo", "--limit", "4")) as { items: { hash: string }[] };
    expect([...first.items, ...second.items]).toEqual(both.items);
  });

  test("env is read by a shell", async () => {
    const { out } = await vlinder(["env", "--agent", "todo"]);
    const shown = execFileSync("sh", ["-c", `${out}\nprintf '%s|%s' "$NATS_URL" "$NATS_CREDS"`], { encoding: "utf8" });
    const home = process.env["VLINDER_HOME"] as string;
    expect(shown).toMatch(/^nats:\/\/127\.0\.0\.1:\d+\|/);
    expect(shown.split("|")[1]).toBe(join(home, "creds", "agents", "todo.creds"));
    expect(out).toContain("_INBOX.todo");
  });

  test("after a deleted branch the printed line brings it back", async () => {
    await json("fork", "todo", "--name", "gone");
    const { out } = await vlinder(["branch", "delete", "todo", "gone"]);
    const line = /vlinder (fork .*)/.exec(out)?.[1] as string;
    expect((await vlinder(line.split(" "))).code).toBe(0);
  });

  test("after a rewind the printed line undoes it", async () => {
    const { out } = await vlinder(["rewind", "todo", "--to", past]);
    expect((await vlinder(["kv", "get", "todo", "/a"])).out).toBe("one");
    const line = /vlinder (rewind .*)/.exec(out)?.[1] as string;
    expect((await vlinder(line.split(" "))).code).toBe(0);
    expect((await vlinder(["kv", "get", "todo", "/a"])).out).toBe("two");
  });

  test("every command has --json in its help, and the agent first", async () => {
    for (const { path, command } of await leaves()) {
      expect(
        command.options.map(({ long }) => long),
        path,
      ).toContain("--json");
      const names = command.registeredArguments.map((argument) => argument.name());
      expect(names.includes("agent") ? names[0] : "agent", path).toBe("agent");
    }
  });
});

test("a bucket that is out of reach is exit code 1, not a daemon that is down", async () => {
  const moved = join(folder.path, "moved");
  await json("init", bucket);
  await rename(join(folder.path, "bucket"), moved);
  try {
    const ran = await vlinder(["sync", "push", "--json"]);
    expect([ran.code, documentOf(ran)]).toMatchObject([1, { error: { code: "unavailable" } }]);
    expect((await vlinder(["doctor"])).code).toBe(1);
  } finally {
    await rename(moved, join(folder.path, "bucket"));
  }
});

test("damage is exit code 1, and named", async () => {
  const dir = join(folder.path, "broken");
  await json("agent", "new", dir);
  await json("agent", "add", dir);
  const { hash } = (await json("kv", "put", "broken", "/x", "to be damaged")) as { hash: string };
  expect((await vlinder(["verify", "broken"])).code).toBe(0);
  const path = join(process.env["VLINDER_HOME"] as string, "agents", "broken", "objects.db");
  flipBit(path, Buffer.from("to be damaged"));
  const ran = await vlinder(["verify", "broken", "--json"]);
  expect([ran.code, documentOf(ran)]).toMatchObject([1, { ok: false, damage: [{ hash, kind: "value" }] }]);
  expect((await vlinder(["verify", "broken"])).out).toContain("not intact");
});

describe("forget", () => {
  test("asks on a terminal before it erases, and takes only yes", async () => {
    await json("kv", "put", "todo", "/people/ann", "ann's secret");
    const argv = ["forget", "todo", "/people/"];
    const asked = (answer: string) => vlinder(argv, { tty: true, stdin: [Buffer.from(answer)] });
    const refused = await asked("y\n");
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.err).toContain("erase 1 value of /people/ for ever?");
    expect(refused.out).toContain("nothing was done");
    // Nobody to ask: it has to be said on the command line.
    expect(await vlinder(argv)).toMatchObject({ code: 2, err: expect.stringContaining("--yes") as unknown });
    expect((await vlinder(["kv", "get", "todo", "/people/ann"])).out).toBe("ann's secret");
    const done = await asked("yes\n");
    expect(done).toMatchObject({ code: 0 });
    expect(done.out).toContain("1 value of /people/, 12 B");
    expect(await vlinder(["kv", "get", "todo", "/people/ann"])).toMatchObject({
      code: 1,
      err: expect.stringContaining("[erased]") as unknown,
    });
    expect((await vlinder([...argv, "--yes"])).out).toContain("nothing of /people/ is left to erase");
    expect(await json("forget", "todo", "/a", "--yes")).toMatchObject({ keys: 1 });
  });
});

describe("gc", () => {
  test("is a dry run unless told otherwise, and says what there is to know of the space", async () => {
    const dry = await vlinder(["gc", "todo"]);
    expect(dry.out).toMatch(/^(would drop|there is nothing to drop)/);
    expect(dry.out).toContain("space: ");
    expect(await json("gc", "todo", "--run")).toMatchObject({ run: true, commits: { dropped: 0 } });
    expect(await vlinder(["gc", "todo", "--run", "--undo"])).toMatchObject({ code: 2 });
    expect((await vlinder(["agent", "show", "todo"])).out).toMatch(/space +\d/);
  });
});
