/**
 * The whole idea on real input, as a person would type it: every line that starts with `$` is run as
 * it stands (with VLINDER_HOME set), and what follows is its output.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { NODE_FLAGS } from "../daemon/src/node-flags.ts";

const root = path.dirname(import.meta.dirname);
const { values: options } = parseArgs({ options: { home: { type: "string" } } });
const base = options.home === undefined ? await mkdtemp(path.join(tmpdir(), "vlinder-")) : path.resolve(options.home);
const here = path.join(base, "laptop");
const there = path.join(base, "second-machine");
const bucket = path.join(base, "bucket");

const tty = process.stdout.isTTY && process.env["NO_COLOR"] === undefined;
const bold = (text: string): string => (tty ? `\u001b[1m${text}\u001b[22m` : text);
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const step = (text: string): void => say(`\n${bold(text)}`);

const daemons: ChildProcess[] = [];
let home = here;

interface Ran {
  readonly code: number;
  readonly out: string;
}

/** Runs a program of the clone and gives what it wrote to standard output. */
function run(argv: readonly string[], quiet: boolean): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, VLINDER_HOME: home };
    // Progress goes to the terminal; it is standard error, which is passed through.
    const child = spawn(process.execPath, argv, {
      cwd: root,
      env,
      stdio: ["ignore", "pipe", quiet ? "pipe" : "inherit"],
    });
    let out = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (!quiet) process.stdout.write(text.replaceAll(/^(?=.)/gm, "  "));
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 1, out }));
  });
}

function fail(what: string): never {
  throw new Error(`${what} failed; the output above says why`);
}

/** Shows a command and its output. */
async function shown(line: string, argv: readonly string[]): Promise<string> {
  say(`$ ${line}`);
  const { code, out } = await run(argv, false);
  // A value is printed as it is stored, and need not end its line.
  if (out !== "" && !out.endsWith("\n")) process.stdout.write("\n");
  if (code !== 0) fail(line);
  return out;
}

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
const vlinder = (...args: string[]): Promise<string> =>
  shown(`npx vlinder ${args.map(quote).join(" ")}`, ["daemon/bin/vlinder.mjs", ...args]);
/** One turn of an agent. */
const tell = (name: string, message: string, ...args: string[]): Promise<string> =>
  vlinder("run", name, "-m", message, ...args);

/** Asks without showing. */
async function ask(...args: string[]): Promise<Record<string, unknown>> {
  const { code, out } = await run(["daemon/bin/vlinder.mjs", ...args, "--json"], true);
  if (code !== 0) fail(`vlinder ${args.join(" ")}`);
  return JSON.parse(out) as Record<string, unknown>;
}

/** Starts vlinderd on the home that is at hand, and waits until it can be reached. */
async function start(): Promise<void> {
  await mkdir(home, { recursive: true, mode: 0o700 });
  say("$ npx vlinderd &");
  // Each step is to be seen; without this, a turn pulls before it begins and pushes when it has ended.
  const env = { ...process.env, VLINDER_HOME: home, VLINDER_LOG_LEVEL: "error", VLINDER_SYNC_WHEN: "manual" };
  const child = spawn(process.execPath, [...NODE_FLAGS, "daemon/bin/vlinderd.mjs"], {
    cwd: root,
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
  daemons.push(child);
  if ((await run(["daemon/bin/vlinder.mjs", "status", "--wait"], true)).code !== 0) fail("vlinderd");
}

/** Ends the daemons, the last one first. */
async function stop(): Promise<void> {
  for (const child of daemons.splice(0).toReversed()) {
    if (child.exitCode !== null) continue;
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  }
}

async function stateOf(name: string): Promise<{ state: string; snapshot: string }> {
  const { state, snapshot } = await ask("agent", "show", name);
  return { state: String(state), snapshot: String(snapshot) };
}

/** Compares both machines, agent by agent. */
async function compare(): Promise<void> {
  for (const name of ["todo", "librarian"]) {
    home = here;
    const a = await stateOf(name);
    home = there;
    const b = await stateOf(name);
    const same = a.state === b.state && a.snapshot === b.snapshot;
    say(
      `  ${name.padEnd(10)} commit ${a.state.slice(0, 12)} | ${b.state.slice(0, 12)}   snapshot ${a.snapshot.slice(0, 12)} | ${b.snapshot.slice(0, 12)}   ${same ? "the same" : "DIFFERENT"}`,
    );
    if (!same) fail("the comparison");
  }
}

async function main(): Promise<void> {
  const began = performance.now();
  if (existsSync(here)) throw new Error(`${here} is there already: name another folder, or delete it`);
  say(`vlinder quickstart, in ${base}`);

  step(
    "1. Start the daemon, and register two agents: storage is declared, and provisioned once; the daemon starts them",
  );
  await start();
  await vlinder("agent", "add", "agents/todo");
  await vlinder("agent", "add", "agents/librarian");

  step("2. Talk to one: each turn's writes become part of its history together, or not at all");
  await tell("todo", "add milk");
  await tell("todo", "add eggs");
  const eggs = (await stateOf("todo")).state.slice(0, 12);
  await tell("todo", "add carrots");
  await vlinder("log", "todo");

  step("3. Time travel: carrots were a mistake. Read the past, fork it, go on there, put that in main's place");
  await vlinder("kv", "get", "todo", "/todos.json", "--at", eggs);
  await vlinder("fork", "todo", "--from", eggs, "--name", "fix");
  await tell("todo", "add bread", "--branch", "fix");
  await vlinder("diff", "todo", "main", "fix", "--values");
  const [sealed = fail("vlinder promote")] = /broken-\S+/.exec(await vlinder("promote", "todo", "fix")) ?? [];
  await tell("todo", "list");
  say("Nothing is lost: what main was is sealed, and still has the carrots.");
  await vlinder("kv", "get", "todo", "/todos.json", "--at", sealed);
  await vlinder("verify", "todo");

  step("4. The other reads documents of this clone and of two packages that are installed in it, and answers");
  const folders = ["docs", "node_modules/pino", "node_modules/commander"].map((folder) => path.join(root, folder));
  await tell("librarian", `read ${folders.join(" ")}`);
  await tell("librarian", "what happens when the disk is full");
  await tell("librarian", "how do I hide passwords and other secrets in my logs");

  step("5. Keep it in a bucket: here a folder");
  await vlinder("init", `file://${bucket}`);
  await vlinder("sync", "push");

  step("6. Another machine, with an empty home: clone");
  home = there;
  await start();
  await vlinder("clone", `file://${bucket}`);
  await compare();

  step("7. Both add to the same list, apart from each other: both end with both");
  home = here;
  await tell("todo", "add jam");
  home = there;
  await vlinder("agent", "add", "agents/todo");
  await tell("todo", "add tea");
  say(
    'Each pushes and pulls, here by hand, to show it: with [sync] when = "turn", the default, turns do both by themselves:',
  );
  for (const machine of [here, there, here]) {
    home = machine;
    say(`  # on the ${path.basename(machine)}`);
    await vlinder("sync", "pull");
    await vlinder("sync", "push");
  }
  await compare();
  home = here;
  await tell("todo", "list");
  await vlinder("status");
  await stop();

  step(`That was it, in ${((performance.now() - began) / 1000).toFixed(0)} s. Go on from here:`);
  say(`
  export VLINDER_HOME=${quote(here)}
  npx vlinderd 2> "$VLINDER_HOME/logs/vlinderd.log" &
  npx vlinder status --wait
  npx vlinder run todo -m 'add read the README'
  npx vlinder run librarian -m 'how do I split my command line program into subcommands'
  npx vlinder log librarian --limit 5
  npx vlinder agent new my-agent && npx vlinder agent add my-agent
  npx vlinder run my-agent -m hello
  npx vlinder stop

Everything is in ${base}: delete it when you are done.`);
}

let failed = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    failed = true;
    void stop().then(() => process.exit(130));
  });
}
try {
  await main();
} catch (error) {
  failed = true;
  process.stderr.write(`quickstart: ${error instanceof Error ? error.message : String(error)}\n`);
} finally {
  await stop();
  if (failed) process.exitCode = 1;
}
