import { type AgentName, type DeviceId, type Hash, parseAgentName, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";
import { type HeadName, isCounter } from "./head.ts";

/** What a bucket holds of one agent, by the names of its files. */
export interface AgentListing {
  readonly heads: readonly HeadName[];
  /** Name → bytes of the file. */
  readonly packs: ReadonlyMap<Hash, number>;
  /** Files that are none of ours, left alone. */
  readonly foreign: readonly string[];
}

const HEAD = /^heads\/([0-9a-f]{32})\/([1-9][0-9]{0,15})-([0-9a-f]{64})\.json$/;
/** `.dropped` marks a pack that a later release has merged; packs stay readable for as long as they are there. */
const PACK = /^packs\/([0-9a-f]{64})\.(pack|dropped)$/;

export function packPath(agent: AgentName, pack: Hash): string {
  return `agents/${agent}/packs/${pack}.pack`;
}

export async function listAgent(bucket: Bucket, agent: AgentName): Promise<AgentListing> {
  const heads: HeadName[] = [];
  const packs = new Map<Hash, number>();
  const foreign: string[] = [];
  const above = `agents/${agent}/`;
  for await (const { path, size } of bucket.list(above)) {
    const rest = path.slice(above.length);
    const head = HEAD.exec(rest);
    const pack = PACK.exec(rest);
    if (head !== null && isCounter(Number(head[2]))) {
      heads.push({ agent, device: head[1] as DeviceId, n: Number(head[2]), hash: head[3] as Hash });
    } else if (pack?.[2] === "pack") packs.set(pack[1] as Hash, size);
    else if (pack === null && !rest.startsWith("databases/")) foreign.push(path);
  }
  // By number, then hash: what is decided by who comes first must not hang on the bucket's order.
  heads.sort((a, b) => a.n - b.n || (a.hash < b.hash ? -1 : 1));
  return { heads, packs, foreign: foreign.toSorted() };
}

export interface FoundAgents {
  readonly agents: readonly AgentName[];
  /** Files under `agents/` that belong to no agent. */
  readonly foreign: readonly string[];
}

/** The agents that have a head in the bucket. */
export async function findAgents(bucket: Bucket): Promise<FoundAgents> {
  const agents = new Set<AgentName>();
  const foreign: string[] = [];
  for await (const { path } of bucket.list("agents/")) {
    const [, name, ...rest] = path.split("/");
    if (!isAgentName(name)) foreign.push(path);
    else if (HEAD.test(rest.join("/"))) agents.add(name);
  }
  return { agents: [...agents].toSorted(), foreign: foreign.toSorted() };
}

function isAgentName(name: unknown): name is AgentName {
  try {
    parseAgentName(name);
    return true;
  } catch (error) {
    if (error instanceof VlinderError) return false;
    throw error;
  }
}

/** The foreign files in a sentence, or nothing. */
export function foreignNotes(foreign: readonly string[]): string[] {
  if (foreign.length === 0) return [];
  const more = foreign.length > 5 ? ` and ${foreign.length - 5} more` : "";
  return [`the bucket has files that are not vlinder's, left alone: ${foreign.slice(0, 5).join(", ")}${more}`];
}
