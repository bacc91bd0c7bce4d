import { existsSync, mkdirSync, writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type AgentName, asVlinderError, type DeviceId, type Hash, VlinderError } from "@vlinder/protocol";
import { compareAgent } from "../../../src/drill/compare.ts";
import { seedHome } from "../../../src/drill/ground.ts";
import { restore } from "../../../src/drill/restore.ts";
import { readOrMakeDevice, renewDevice } from "../../../src/registry/device.ts";
import { StateEngine } from "../../../src/state/engine.ts";
import { openSqliteObjects } from "../../../src/storage/backends/sqlite/sqlite-objects.ts";
import { FileShelf } from "../../../src/storage/quarantine-shelf.ts";
import type { Bucket } from "../../../src/sync/buckets/bucket.ts";
import { openBucket } from "../../../src/sync/buckets/open.ts";
import { publishedBranches, publishedCommits } from "../../../src/sync/branches.ts";
import { Sync } from "../../../src/sync/sync.ts";
import { contract } from "../../state/harness.ts";
import type { Drilled, Faults, MachineSpec, Order, Report, Synced, Told } from "./orders.ts";
import { Journal, Steps, TrialBucket } from "./trial-bucket.ts";
import { work } from "./trial-work.ts";

/*
 * One machine of a trial: the engine over SQLite and sync, as the daemon puts them together, in a process that is killed in the midst
 * of its work and started again on the same home. Orders come in lines on stdin; what is acknowledged is told on stdout at once.
 */

const spec = JSON.parse(process.argv[2] as string) as MachineSpec;
const TODO = "todo" as AgentName;
const folder = join(spec.home, "agents", TODO);
const deviceFile = join(spec.home, "device.json");
const objectsFile = join(folder, "objects.db");

const tell = (told: Told): void => void writeSync(1, `${JSON.stringify(told)}\n`);

/** The clock of a trial; it goes on by a millisecond each time that it is read. */
let clock = 0;
const now = (): Date => new Date(clock++);

mkdirSync(spec.home, { recursive: true });
let device: DeviceId = await readOrMakeDevice(deviceFile);
let engine: StateEngine | null = null;
const steps = new Steps();
const journal = new Journal(`${spec.home}/../journal`);
let faults: Faults | null = null;
let fired: Record<string, number> = {};

async function openAgent(): Promise<StateEngine> {
  mkdirSync(folder, { recursive: true });
  const objects = await openSqliteObjects({ path: objectsFile, durability: "process" });
  // Each transaction of the state is a step at which a machine may die.
  const storage = new Proxy(objects, {
    get: (target, property) => {
      const member = Reflect.get(target, property) as unknown;
      if (typeof member !== "function") return member;
      if (property !== "apply") return member.bind(target) as unknown;
      return (...args: unknown[]) => steps.take(() => Reflect.apply(member, target, args) as Promise<unknown>);
    },
  });
  engine = await StateEngine.open({
    agent: TODO,
    storage,
    device: () => device,
    now,
    shelf: new FileShelf(`${objectsFile}-quarantine`, "process"),
    roots: () => ({ heads: () => sync.knownHeads(TODO) }),
    onErased: (_rows, hashes) => sync.erased(TODO, hashes),
  });
  return engine;
}

const notes: string[] = [];
const sync = await Sync.open({
  home: spec.home,
  device,
  newDeviceId: async () => (device = await renewDevice(deviceFile)),
  agents: {
    list: async () => (engine === null ? [] : [{ name: TODO, exchange: engine }]),
    adopt: () => openAgent(),
    isRemoved: () => false,
  },
  log: { info: () => undefined, warn: (_, message) => void notes.push(message) },
  now,
  retries: [0, 0],
  packs: spec.policy,
  openBucket: async (uri, options): Promise<Bucket> => {
    const inner = await openBucket(uri, options);
    if (faults === null) return inner;
    const count = (fault: string): void => void (fired[fault] = (fired[fault] ?? 0) + 1);
    return new TrialBucket({ inner, faults, steps, journal, now: () => clock, fired: count });
  },
});
if (existsSync(objectsFile)) await openAgent();

function required(): StateEngine {
  if (engine === null) throw new Error("this machine has no agent");
  return engine;
}

async function synced(what: "push" | "pull"): Promise<Synced> {
  let error: VlinderError | null = null;
  notes.length = 0;
  try {
    const { agents } = await sync[what]();
    const body = agents.find((agent) => agent.error !== null)?.error;
    if (body != null) error = new VlinderError(body.code, body.message);
  } catch (thrown) {
    error = asVlinderError(thrown);
    if (error.code === "internal") throw thrown;
  }
  return { error: error?.message ?? null, code: error?.code ?? null, steps: steps.taken, fired, notes: [...notes] };
}

/** Where each branch is; the same on all machines in the end. */
function heads(todo: StateEngine): string {
  const rows = todo.branches().map(({ id, head, deleted, sealed }) => ({ id, head, deleted, sealed }));
  return JSON.stringify(rows.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
}

async function report(): Promise<Report> {
  const todo = required();
  await todo.retention.settle();
  const { damage } = await todo.verify();
  let commits = 0;
  for await (const _ of todo.newCommits(await publishedCommits(todo, publishedBranches(todo)), [])) commits++;
  return { device, heads: heads(todo), branches: todo.liveBranches().length, commits, damage };
}

/** Of these commits those that no branch here reaches, nor one that was deleted. */
async function missing(commits: readonly Hash[]): Promise<Hash[]> {
  const todo = required();
  const here = new Set<Hash>();
  for await (const { hash } of todo.newCommits(await publishedCommits(todo, publishedBranches(todo)), []))
    here.add(hash);
  return commits.filter((commit) => !here.has(commit));
}

/** What `vlinder sync drill` does, without a daemon. */
async function drill(): Promise<Drilled> {
  const todo = required();
  const home = `${spec.home}-drill`;
  const branches = todo.liveBranches().map(({ id, name, head }) => ({ id, name, head }));
  const expected = { agent: TODO, branches, tips: await sync.pushedTips(TODO) };
  await seedHome(spec.home, home);
  try {
    const { agents } = await restore({ home, bucket: spec.uri, agent: TODO, expected: [expected] }, () => undefined);
    const [restored] = agents;
    const compared = await compareAgent(todo, expected, restored?.branches ?? []);
    const ok = agents.length === 1 && restored?.error === null && restored.verified?.damaged === 0;
    return { ok: ok && compared.every(({ result }) => result === "equal"), found: { agents, compared } };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function carryOut(order: Order): Promise<unknown> {
  clock = Math.max(clock, order.now);
  switch (order.what) {
    case "init":
      return await sync.init(spec.uri, { encrypt: order.encrypt, ...(order.key === null ? {} : { key: order.key }) });
    case "found":
      return await (await openAgent()).setContract(contract());
    case "work":
      return await work(required(), order, spec.index, (acknowledged, kind) => tell({ acknowledged, kind }));
    case "heads":
      return heads(required());
    case "report":
      return await report();
    case "drill":
      return await drill();
    case "missing":
      return await missing(order.commits);
    default: {
      ({ faults } = order);
      fired = {};
      steps.taken = 0;
      steps.killAt = order.faults?.killAt ?? 0;
      const result = await synced(order.what);
      steps.killAt = 0;
      return result;
    }
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const order = JSON.parse(line) as Order;
  carryOut(order).then(
    (result) => tell({ id: order.id, result: result ?? null }),
    (error: unknown) => tell({ id: order.id, failed: String((error as Error).stack ?? error) }),
  );
});
process.stdin.on("end", () => process.exit(0));
tell({ ready: true });
