import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { Client } from "@vlinder/agent-runtime";
import type { AgentName, LogItem, LogsReply, ProcessItem, RegisterReply } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { endAll, processesWith, until } from "./harness/processes.ts";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";

const stage = newStage();
// Several starts of a daemon, and agents that take their five seconds to be ended.
const LONG = 180_000;
const RUNTIME = pathToFileURL(path.resolve(import.meta.dirname, "../agent-runtime/src/index.ts")).href;
const MACHINE = Object.keys(process.env);

/** Puts what it was started with, and stays until it is told to end; then it puts its last words. */
const SERVER = `
import { connect } from ${JSON.stringify(RUNTIME)};
const vlinder = await connect();
process.once("SIGTERM", async () => {
  await vlinder.kv.put("/last-words", "bye " + process.pid);
  await vlinder.close();
  process.exit(0);
});
await vlinder.kv.putJson("/start.json", { env: process.env, cwd: process.cwd(), argv: process.argv, version: process.version, pid: process.pid });
console.log("serving");
console.error("to stderr");
setInterval(() => {}, 1000);
`;

interface Hosted {
  readonly name: AgentName;
  readonly dir: string;
  readonly reply: RegisterReply;
  /** In the command line of its process and of no other. */
  readonly sign: string;
}

/** An agent whose code is this module. */
async function host(daemon: TestDaemon, name: string, code: string, args = ""): Promise<Hosted> {
  const sign = await stage.path(`sign-${name}`);
  const dir = await stage.agentFolder(name, declares(`node main.mjs ${sign} ${args}`));
  await writeFile(path.join(dir, "main.mjs"), code);
  const reply = await (await stage.admin(daemon)).admin("agents.register", { dir });
  return { name: name as AgentName, dir: await realpath(dir), reply, sign };
}

function declares(executable: string): string {
  return `object_storage = "sqlite://objects.db"\nruntime = "process"\nexecutable = ${JSON.stringify(executable)}\n`;
}

async function processOf(admin: Client, agent: string): Promise<ProcessItem> {
  const { process: item } = await admin.admin("agents.show", { agent });
  if (item === null) throw new Error(`${agent} has no process`);
  return item;
}

async function valueOf(admin: Client, agent: AgentName, key: string): Promise<string | null> {
  const reply = await admin.request(agent, "kv.get", { key }).catch((error: { code?: string }) => {
    if (error.code === "not_found") return null;
    throw error;
  });
  return reply === null ? null : Buffer.from(reply.value as Uint8Array).toString("utf8");
}

interface Start {
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly argv: readonly string[];
  readonly version: string;
  readonly pid: number;
}

/** What the process with this id has put at its start. */
async function startOf(admin: Client, agent: AgentName, pid: number | null): Promise<Start> {
  let start: Start | null = null;
  await until(`pid ${pid} of ${agent} has put`, async () => {
    start = JSON.parse((await valueOf(admin, agent, "/start.json")) ?? "null") as Start | null;
    return start?.pid === pid;
  });
  return start as unknown as Start;
}

async function logOf(admin: Client, agent: string): Promise<readonly LogItem[]> {
  return (await admin.admin("agents.logs", { agent, lines: 1000 })).items;
}

test.concurrent(
  "an agent runs in its folder, as itself, with nothing of the daemon's secrets",
  { timeout: LONG },
  async () => {
    const daemon = await stage.newDaemon();
    Object.assign(daemon.environment, {
      OPENAI_API_KEY: "sk-secret-of-the-daemon",
      VLINDER_FOO: "secret",
      AWS_SECRET_ACCESS_KEY: "secret",
      LC_TIME: "C",
      NODE_OPTIONS: "--no-warnings",
    });
    await daemon.start();
    const admin = await stage.admin(daemon);
    const { name, dir, reply, sign } = await host(daemon, "server", SERVER, `'two words' "a \\"b"`);
    expect(reply.notes).toEqual([]);
    const item = await processOf(admin, name);
    expect(item).toMatchObject({ state: "running", restarts: 0, lastExit: null, error: null, next: null });
    expect(processesWith(sign)).toEqual([item.pid]);

    const { env, cwd, argv, version } = await startOf(admin, name, item.pid);
    expect(cwd).toBe(dir);
    expect(argv.slice(2)).toEqual([sign, "two words", 'a "b']);
    // The daemon's own Node, whatever the machine has.
    expect(version).toBe(process.version);
    expect(env).toMatchObject({
      VLINDER_AGENT: name,
      VLINDER_URL: daemon.url,
      VLINDER_CREDS: daemon.agentCreds(name),
      LC_TIME: "C",
    });
    const allowed =
      /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TMP|TEMP|XDG_\w+|SSL_CERT_\w+|NODE_EXTRA_CA_CERTS)$/;
    const own = ["VLINDER_AGENT", "VLINDER_URL", "VLINDER_CREDS", "VLINDER_PROCESS"];
    expect(Object.keys(env).filter((one) => !own.includes(one) && !allowed.test(one))).toEqual([]);
    expect(JSON.stringify(env)).not.toContain("secret");
    expect(MACHINE.length).toBeGreaterThan(own.length);

    // What it writes is in its log, and with the daemon's own words.
    await until("both streams are logged", async () => (await logOf(admin, name)).length >= 3);
    expect((await logOf(admin, name)).map(({ stream, text }) => `${stream} ${text}`).toSorted()).toEqual([
      `daemon started, pid ${item.pid}`,
      "stderr to stderr",
      "stdout serving",
    ]);
    const file = path.join(daemon.home, "logs", "agents", `${name}.log`);
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    // The same again changes nothing; a change of something else neither.
    const toml = path.join(dir, "agent.toml");
    const text = await readFile(toml, "utf8");
    await admin.admin("agents.register", { dir });
    await writeFile(toml, `${text}description = "another"\n`);
    expect((await admin.admin("agents.plan", { dir })).steps.map(({ what }) => what)).toEqual([
      "write the registration",
    ]);
    await admin.admin("agents.register", { dir });
    expect(await processOf(admin, name)).toEqual(item);
    // Another command is another process, and the one before could end its work.
    await writeFile(toml, text.replace("node main.mjs", "node main.mjs other"));
    expect((await admin.admin("agents.plan", { dir })).steps.at(-1)).toMatchObject({ what: "start the process anew" });
    await admin.admin("agents.register", { dir });
    const other = await processOf(admin, name);
    expect(other.pid).not.toBe(item.pid);
    expect((await startOf(admin, name, other.pid)).argv[2]).toBe("other");
    expect(await valueOf(admin, name, "/last-words")).toBe(`bye ${item.pid}`);

    const again = await admin.admin("agents.restart", { agent: name });
    expect(again.process).toMatchObject({ state: "running", restarts: 1, lastExit: { code: 0, signal: null } });
    expect(again.process.pid).not.toBe(other.pid);
    expect(processesWith(sign)).toEqual([again.process.pid]);

    // An agent that something else starts has no process.
    await writeFile(toml, text.replace(/^runtime.*\n/m, "").replace(/^executable.*\n/m, ""));
    await admin.admin("agents.register", { dir });
    expect(processesWith(sign)).toEqual([]);
    expect((await admin.admin("agents.show", { agent: name })).process).toBeNull();
    await expect(admin.admin("agents.restart", { agent: name })).rejects.toMatchObject({ code: "not_declared" });
  },
);

test.concurrent("one that ends is started again, later each time, also after code 0", { timeout: LONG }, async () => {
  const daemon = await stage.daemon();
  const admin = await stage.admin(daemon);
  const code = `console.log("try", Date.now()); process.exitCode = process.argv[3] === "crash" ? 7 : 0;`;
  const crash = await host(daemon, "crash", code, "crash");
  const done = await host(daemon, "done", code);
  for (const [{ name }, exit] of [
    [crash, 7],
    [done, 0],
  ] as const) {
    await until("three restarts", async () => (await processOf(admin, name)).restarts >= 3);
    await until("it waits", async () => (await processOf(admin, name)).state === "waiting");
    const item = await processOf(admin, name);
    expect(item).toMatchObject({ pid: null, lastExit: { code: exit, signal: null } });
    expect(Date.parse(item.next ?? "")).toBeGreaterThan(Date.parse(item.since));
    const lines = await logOf(admin, name);
    const notes = lines.filter(({ stream, text }) => stream === "daemon" && text.startsWith("exited"));
    const also = exit === 0 ? ", though an agent is meant to stay" : "";
    expect(notes.slice(0, 3).map(({ text }) => text)).toEqual(
      [0.5, 1, 2].map((delay) => `exited with code ${exit}${also}; started again in ${delay} s`),
    );
    const tries = lines.filter(({ stream }) => stream === "stdout").map(({ text }) => Number(text.split(" ")[1]));
    const gaps = tries.slice(1).map((time, i) => time - (tries[i] as number));
    expect(gaps[0]).toBeGreaterThan(490);
    expect(gaps[1]).toBeGreaterThan(990);
    expect(gaps[2]).toBeGreaterThan(1_990);
  }
  // Who asks for it need not wait.
  const { process: item } = await admin.admin("agents.restart", { agent: crash.name });
  expect(item.lastExit).toMatchObject({ code: 7 });
  const status = await admin.admin("daemon.status");
  expect(status.agents.map(({ agent, process: one }) => [agent, one === null])).toEqual([
    ["crash", false],
    ["done", false],
  ]);
  // A crash leaves nothing behind: what it had started is ended before it is started again.
  const parent = `
    import { spawn } from "node:child_process";
    spawn("sleep", ["300"], { stdio: "inherit", argv0: process.argv[2] });
    spawn("sleep", ["300"], { stdio: "inherit", argv0: process.argv[2], detached: true }).unref();
    setTimeout(() => process.exit(3), 200);
  `;
  const { name, sign } = await host(daemon, "parent", parent);
  await until("it has crashed twice", async () => (await processOf(admin, name)).restarts >= 2);
  await until("its third run is over", async () => (await processOf(admin, name)).state === "waiting");
  expect(processesWith(sign)).toEqual([]);
});

test.concurrent(
  "remove and stop end an agent, and what it started, however it resists",
  { timeout: LONG },
  async () => {
    const daemon = await stage.daemon();
    const admin = await stage.admin(daemon);
    const stubborn = `
    import { spawn } from "node:child_process";
    process.on("SIGTERM", () => console.log("no"));
    const child = (options) => spawn("sh", ["-c", "trap '' TERM; while :; do sleep 0.1; done", process.argv[2]], { stdio: "ignore", ...options });
    child({});
    child({ detached: true }).unref();
    console.log("up");
    setInterval(() => {}, 1000);
  `;
    const first = await host(daemon, "stubborn", stubborn);
    const second = await host(daemon, "stubborn-too", stubborn);
    const polite = await host(daemon, "polite", SERVER);
    await startOf(admin, polite.name, (await processOf(admin, polite.name)).pid);
    for (const { sign } of [first, second]) await until("its children run", () => processesWith(sign).length === 3);

    const log = path.join(daemon.home, "logs", "agents", `${first.name}.log`);
    await admin.admin("agents.remove", { agent: first.name }, { timeout: 30_000 });
    expect(processesWith(first.sign)).toEqual([]);
    expect(await readFile(log, "utf8")).toMatch(/stdout no\n.*daemon stopped, ended by SIGKILL\n$/s);
    await admin.admin("agents.remove", { agent: first.name, purge: true });
    expect(existsSync(log)).toBe(false);

    // Who follows a log keeps nobody from stopping: the polite one ends at once, and the other only when it must.
    let isFollowing = true;
    const following = (async () => {
      for (let after = "0-0"; isFollowing; await sleep(20)) {
        const page = await admin.admin("agents.logs", { agent: polite.name, after, wait: 30_000 }).catch(() => null);
        after = page?.position ?? after;
      }
    })();
    await sleep(50);
    expect(await daemon.stop()).toBe(0);
    isFollowing = false;
    expect(daemon.log.join("\n")).not.toContain("stopped before all requests were answered");
    expect(processesWith(second.sign)).toEqual([]);
    expect(processesWith(polite.sign)).toEqual([]);
    expect(daemon.logged(50)).toEqual([]);
    await daemon.start();
    // NATS was served until the agents had ended.
    expect(await valueOf(admin, polite.name, "/last-words")).toMatch(/^bye \d+$/);
    await until("it runs again", () => processesWith(polite.sign).length === 1);
    await following;
  },
);

test.concurrent(
  "after a kill -9 of the daemon the next start leaves exactly one process of each agent",
  { timeout: LONG },
  async () => {
    const daemon = await stage.daemon();
    const admin = await stage.admin(daemon);
    const { name, sign } = await host(daemon, "survivor", SERVER);
    // One whose own process is gone when the next daemon looks: only its children are left.
    const orphans = await host(
      daemon,
      "orphans",
      `import { spawn } from "node:child_process";
     for (const detached of [false, true]) spawn("sleep", ["300"], { stdio: "ignore", argv0: process.argv[2], detached }).unref();
     setInterval(() => {}, 1000);`,
    );
    await until("its children run", () => processesWith(orphans.sign).length === 3);
    const before = (await processOf(admin, name)).pid;
    await startOf(admin, name, before);
    const leader = (await processOf(admin, orphans.name)).pid as number;
    await daemon.kill();
    expect(processesWith(sign)).toEqual([before]);
    endAll([leader]);
    await until("only its children are left", () => processesWith(orphans.sign).length === 2);
    await daemon.start();
    const after = async (): Promise<number | null> => (await processOf(admin, name)).pid;
    await until("it runs", async () => (await after()) !== null);
    expect(processesWith(sign)).toEqual([await after()]);
    expect(await after()).not.toBe(before);
    await startOf(admin, name, await after());
    await until("the other runs", async () => (await processOf(admin, orphans.name)).state === "running");
    await until("its children are new", () => processesWith(orphans.sign).length === 3);
    expect(daemon.log.join("\n")).toContain("that an earlier vlinderd left behind");
  },
);

test.concurrent(
  "an executable that can't be run is said, with a remedy, and runs when it can",
  { timeout: LONG },
  async () => {
    const daemon = await stage.daemon();
    const admin = await stage.admin(daemon);
    const dir = await stage.agentFolder("missing", declares("./serve.sh --port 1"));
    const { notes } = await admin.admin("agents.register", { dir });
    expect(notes).toEqual([
      expect.stringMatching(/^its process could not be started: there is no program ".\/serve.sh"; correct executable/),
    ]);
    const item = await processOf(admin, "missing");
    expect(item).toMatchObject({
      state: "failed",
      pid: null,
      error: { code: "not_found", details: { remedy: expect.any(String) } },
    });
    expect(await logOf(admin, "missing")).toMatchObject([
      { stream: "daemon", text: expect.stringContaining("started again in 0.5 s") },
    ]);
    const script = path.join(dir, "serve.sh");
    await writeFile(script, "#!/bin/sh\nexec sleep 300\n");
    await until(
      "that it may not be executed",
      async () => (await processOf(admin, "missing")).error?.code === "denied",
    );
    await chmod(script, 0o755);
    await until("it runs", async () => (await processOf(admin, "missing")).state === "running", 30_000);
    await rm(script);

    const gone = await stage.agentFolder("gone", declares("no-such-program-anywhere"));
    expect((await admin.admin("agents.register", { dir: gone })).notes[0]).toMatch(
      /no-such-program-anywhere.*install it/,
    );
    const bad = await stage.agentFolder("bad", declares("node main.mjs > out.log"));
    await expect(admin.admin("agents.register", { dir: bad })).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringMatching(/agent\.toml:4:\d+: .*> means something to a shell/),
    });
    const broken = await stage.agentFolder("broken", declares("./broken"));
    await writeFile(path.join(broken, "broken"), "#!/no/such/interpreter\n", { mode: 0o755 });
    const { notes: why } = await admin.admin("agents.register", { dir: broken });
    expect(why[0]).toMatch(/could not be started: .*ENOENT; the interpreter/);
    // Its folder, too, may go and come back.
    await mkdir(`${gone}-away`);
    await rm(gone, { recursive: true });
    await until(
      "the folder is missed",
      async () => /folder/.test((await processOf(admin, "gone")).error?.message ?? ""),
      30_000,
    );
    expect((await admin.admin("daemon.status")).agents).toHaveLength(3);
  },
);

test.concurrent("the log is paged, waited for, rotated, and takes what is no text", { timeout: LONG }, async () => {
  const daemon = await stage.daemon();
  const admin = await stage.admin(daemon);
  const writer = `
    const line = "x".repeat(1000);
    process.stdout.write(Buffer.from([0, 1, 2, 0xff, 0xfe, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x0a]));
    process.stdout.write("long " + "y".repeat(100_000) + "\\n");
    for (let i = 0; i < 9000; i++) process.stdout.write(i + " " + line + "\\n");
    process.stdout.write("done\\n");
    setInterval(() => process.stdout.write("tick\\n"), 300);
  `;
  const { name } = await host(daemon, "writer", writer);
  const last = async (): Promise<LogsReply> => admin.admin("agents.logs", { agent: name, lines: 2 });
  await until("it is done", async () => (await last()).items.some(({ text }) => text === "tick"), 30_000);
  const file = path.join(daemon.home, "logs", "agents", `${name}.log`);
  expect((await stat(`${file}.1`)).size).toBeLessThanOrEqual(8 * 1024 * 1024);
  expect((await stat(`${file}.1`)).mode & 0o777).toBe(0o600);

  const items: LogItem[] = [];
  let page = await admin.admin("agents.logs", { agent: name, lines: 1_000_000 });
  items.push(...page.items);
  while (page.more) {
    page = await admin.admin("agents.logs", { agent: name, lines: 1_000_000, after: page.position });
    items.push(...page.items);
  }
  const texts = items.filter(({ stream }) => stream === "stdout").map(({ text }) => text);
  expect(texts[0]).toBe("\\x00\\x01\\x02\ufffd\ufffd\\x1b[31m");
  expect(texts[1]).toBe(`long ${"y".repeat(8192 - 5)} … (91813 bytes more)`);
  expect(texts.slice(2, 9002).map((text) => Number(text.split(" ")[0]))).toEqual(
    Array.from({ length: 9000 }, (_, i) => i),
  );

  // A question that waits is answered when there is a line, and not before.
  const asked = Date.now();
  const next = await admin.admin("agents.logs", { agent: name, after: page.position, wait: 5_000 });
  expect(next.items.map(({ text }) => text)).toEqual(next.items.map(() => "tick"));
  expect(next.items.length).toBeGreaterThan(0);
  expect(Date.now() - asked).toBeLessThan(2_000);
  await expect(admin.admin("agents.logs", { agent: "nobody" })).rejects.toMatchObject({ code: "not_registered" });
  await stage.register(daemon, "external");
  await expect(admin.admin("agents.logs", { agent: "external" })).rejects.toMatchObject({ code: "not_declared" });
});
