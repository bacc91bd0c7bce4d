import {
  type AgentName,
  asVlinderError,
  type DrillVerified,
  type ErrorBody,
  type Hash,
  hashSnapshot,
  type Progress,
  type PullReply,
} from "@vlinder/protocol";
import { openCore } from "../daemon-core.ts";
import { createLog } from "../observe/log.ts";
import { loadConfig } from "../registry/config.ts";
import { openHome } from "../registry/home.ts";
import type { StateEngine } from "../state/engine.ts";
import type { ExpectedAgent, RestoredBranch } from "./expected.ts";

export interface RestoreOrder {
  /** An empty home, but for what `sync/` pins: the vault and the devices' keys. */
  readonly home: string;
  readonly bucket: string;
  /** Absent: all that the bucket has. */
  readonly agent?: AgentName | undefined;
  readonly expected: readonly ExpectedAgent[];
}

export interface RestoredAgent {
  readonly agent: AgentName;
  /** Null: nothing of it could be restored. */
  readonly pulled: PullReply["agents"][number] | null;
  readonly verified: DrillVerified | null;
  /** Those that are expected. */
  readonly branches: readonly RestoredBranch[];
  readonly notes: readonly string[];
  readonly error: ErrorBody | null;
}

/** What was restored, and the seconds that it took. */
export interface Restored {
  readonly vault: string;
  readonly seconds: { readonly restore: number; readonly verify: number };
  readonly agents: readonly RestoredAgent[];
}

/** How many notes of one agent are kept. */
const NOTES = 20;

/**
 * Does what `vlinder clone` does on a new machine, in a folder of its own, and reads and hashes all of it from there again.
 * @throws what keeps the bucket as a whole from being used
 */
export async function restore(order: RestoreOrder, progress: (progress: Progress) => void): Promise<Restored> {
  const home = await openHome(order.home);
  const said = new Map<string, string[]>();
  const log = createLog("warn", {
    write: (line) => {
      const { agent = "", msg, error } = JSON.parse(line) as { agent?: string; msg: string; error?: unknown };
      // An error is told for itself, not by what the safety lock says of it.
      if (error !== undefined) return;
      const notes = said.get(agent) ?? [];
      if (notes.push(msg) <= NOTES) said.set(agent, notes);
    },
  });
  // Nothing of this machine's configuration: where agents' storage lies is the restored home's own.
  const core = await openCore({ home, config: await loadConfig(home, {}), log });
  try {
    const started = performance.now();
    const { vault } = await core.sync.init(order.bucket, { join: true });
    const pulled = await pullAll(order, async () => {
      const shown = (one: Progress): void => progress({ ...one, what: one.what.replace(/^pulling/, "restoring") });
      return (await core.pull(order.agent, shown)).agents;
    });
    const restored = performance.now();
    const names = new Set([
      ...order.expected.map(({ agent }) => agent),
      ...pulled.map(({ agent }) => agent as AgentName),
    ]);
    const agents: RestoredAgent[] = [];
    for (const agent of [...names].toSorted()) {
      const item = pulled.find((one) => one.agent === agent) ?? null;
      const engine = core.registry.list().find((one) => one.name === agent)?.agent?.engine ?? null;
      const notes = item !== null && item.notes.length > 0 ? item.notes : (said.get(agent) ?? []);
      agents.push(await lookAt(agent, { engine, item, notes }, order, progress));
    }
    const seconds = { restore: (restored - started) / 1000, verify: (performance.now() - restored) / 1000 };
    return { vault, seconds, agents };
  } finally {
    await core.close();
  }
}

/** One agent that is asked for by name and is not in the bucket is a finding, as it is when all are asked for. */
async function pullAll(
  { agent }: RestoreOrder,
  pull: () => Promise<PullReply["agents"]>,
): Promise<PullReply["agents"]> {
  try {
    return await pull();
  } catch (thrown) {
    if (agent !== undefined && asVlinderError(thrown).code === "not_registered") return [];
    throw thrown;
  }
}

async function lookAt(
  agent: AgentName,
  found: { engine: StateEngine | null; item: PullReply["agents"][number] | null; notes: readonly string[] },
  { expected }: RestoreOrder,
  progress: (progress: Progress) => void,
): Promise<RestoredAgent> {
  const { engine, item, notes } = found;
  const nothing = { agent, pulled: item, verified: null, branches: [], notes, error: item?.error ?? null };
  if (engine === null) return nothing;
  try {
    const wanted = expected.find((one) => one.agent === agent);
    const branches = wanted === undefined ? [] : await restoredBranches(engine, wanted);
    return { ...nothing, verified: await verify(engine, agent, progress), branches };
  } catch (thrown) {
    return { ...nothing, error: item?.error ?? asVlinderError(thrown).toBody() };
  }
}

async function verify(
  engine: StateEngine,
  agent: AgentName,
  progress: (progress: Progress) => void,
): Promise<DrillVerified> {
  const report = await engine.verify(null, {
    progress: (done, total) => progress({ what: `verifying ${agent}`, done, total, unit: "objects" }),
  });
  const { counts, bytes, damaged } = report;
  const objects = counts.commits + counts.nodes + counts.values;
  return { commits: counts.commits, objects, bytes, damaged, damage: report.damage.slice(0, NOTES) };
}

async function restoredBranches(engine: StateEngine, { branches, tips }: ExpectedAgent): Promise<RestoredBranch[]> {
  const there = await present(engine, tips);
  const restored: RestoredBranch[] = [];
  for (const { id, head } of branches) {
    const theirs = engine.branches().find((one) => one.id === id);
    const has = (await present(engine, [head])).length === 1;
    if (theirs === undefined || theirs.head === null) {
      restored.push({ id, has, others: [], ...(theirs === undefined ? {} : { head: null }) });
      continue;
    }
    const others: Hash[] = [];
    for await (const { hash } of engine.newCommits([theirs.head], has ? [head, ...there] : there)) others.push(hash);
    const { snapshot } = await engine.view(theirs.head);
    restored.push({ id, head: theirs.head, snapshot: hashSnapshot(snapshot), has, others });
  }
  return restored;
}

async function present(engine: StateEngine, commits: readonly Hash[]): Promise<Hash[]> {
  const here = await engine.has(commits);
  return commits.filter((_, i) => here[i]);
}
