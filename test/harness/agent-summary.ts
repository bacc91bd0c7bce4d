import { createHash } from "node:crypto";
import { type AgentName, type Hash, keyText } from "@vlinder/protocol";
import type { Core } from "../../daemon/src/daemon-core.ts";
import type { Space } from "../../daemon/src/state/api.ts";

/** All entries of one space of a state, in few bytes: a digest of the whole listing, and some entries to look at. */
interface SpaceSummary {
  readonly count: number;
  readonly bytes: number;
  /** SHA-256 of the lines `hash size key`, in key order. */
  readonly listing: string;
  readonly some: Readonly<Record<string, Hash>>;
}

interface StateSummary {
  readonly snapshot: Hash;
  readonly kv: SpaceSummary;
  readonly vectors: SpaceSummary;
}

/** What an agent's storage holds, for comparing it with what another release saw there. */
export interface AgentSummary {
  readonly branches: readonly { id: string; name: string; head: string | null; sealed: boolean; deleted: string[] }[];
  /** Commits that the branches reach. */
  readonly commits: number;
  /** Number of entries, and SHA-256 of them as JSON lines, newest first. */
  readonly reflog: { readonly entries: number; readonly listing: string };
  /** Objects of each kind. */
  readonly objects: Readonly<Record<string, number>>;
  /** By commit: every branch's head, and those asked for. */
  readonly states: Readonly<Record<string, StateSummary>>;
}

const SHOWN = 40;

/** @param past commits whose states are wanted besides the heads' */
export async function summaryOf(core: Core, name: AgentName, past: readonly string[]): Promise<AgentSummary> {
  const { engine } = core.registry.get(name);
  const branches = engine.branches().map((one) => ({ ...one, deleted: [...one.deleted] }));
  const heads = branches.flatMap(({ head }) => head ?? []);
  let commits = 0;
  for await (const _ of engine.newCommits(heads, [])) commits++;
  const reflog = await engine.reflog(undefined, 1_000_000);
  const listing = createHash("sha256");
  for (const { branch, name: at, from, to, time, why } of reflog) {
    listing.update(`${JSON.stringify([branch, at, from, to, time, why])}\n`);
  }
  const states: Record<string, StateSummary> = {};
  for (const commit of [...heads, ...(past as readonly Hash[])]) {
    const view = await engine.view(commit);
    states[commit] = {
      snapshot: (await engine.commit(commit)).snapshot,
      kv: await spaceOf(core, name, view, "kv"),
      vectors: await spaceOf(core, name, view, "vectors"),
    };
  }
  return {
    branches,
    commits,
    reflog: { entries: reflog.length, listing: listing.digest("hex") },
    objects: (await engine.usage()).counts,
    states,
  };
}

/** Reads every value too: one that is there and can't be read would not be noticed by its hash. */
async function spaceOf(
  core: Core,
  name: AgentName,
  view: Awaited<ReturnType<ReturnType<Core["registry"]["get"]>["engine"]["view"]>>,
  space: Space,
): Promise<SpaceSummary> {
  const { engine } = core.registry.get(name);
  const listing = createHash("sha256");
  const some: Record<string, Hash> = {};
  let [count, bytes] = [0, 0];
  for await (const { key, hash, size } of view.entries(space)) {
    const actual = createHash("sha256")
      .update(await engine.requiredValue(hash, size))
      .digest("hex");
    if (actual !== hash) throw new Error(`${keyText(key)} has a value of another hash`);
    listing.update(`${hash} ${size} ${keyText(key)}\n`);
    if (count < SHOWN) some[keyText(key)] = hash;
    count++;
    bytes += size;
  }
  return { count, bytes, listing: listing.digest("hex"), some };
}
