import { type AgentName, type DeviceId, type Hash, parseAgentName, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "./buckets/bucket.ts";
import { type HeadName, isCounter } from "./head.ts";

/** What a bucket holds of one agent, by the names of its files. */
export interface AgentListing {
  readonly heads: readonly HeadName[];
  /** Name → bytes of the file. */
  readonly packs: ReadonlyMap<Hash, number>;
  /** Packs beside which a mark lies: they were replaced, and may be gone. */
  readonly marks: ReadonlySet<Hash>;
  /** Files that are none of ours, left alone. */
  readonly foreign: readonly string[];
}

const HEAD = /^heads\/([0-9a-f]{32})\/([1-9][0-9]{0,15})-([0-9a-f]{64})\.json$/;
const PACK = /^packs\/([0-9a-f]{64})\.(pack|dropped)$/;

export function packPath(agent: AgentName, pack: Hash): string {
  return `agents/${agent}/packs/${pack}.pack`;
}

/** What a bucket holds, as it was listed once. */
export interface Listing {
  /** @returns an empty one for an agent that the bucket has nothing of */
  of(agent: AgentName): AgentListing;
  /** Those that have a head. */
  readonly agents: readonly AgentName[];
  /** Files under `agents/` that belong to no agent. */
  readonly foreign: readonly string[];
}

/** @param agent only what belongs to this one; absent: all */
export async function listBucket(bucket: Bucket, agent?: AgentName): Promise<Listing> {
  const all = new Map<AgentName, OpenListing>();
  const foreign: string[] = [];
  for await (const { path, size } of bucket.list(agent === undefined ? ABOVE : `${ABOVE}${agent}/`)) {
    const [, name, ...rest] = path.split("/");
    if (!isAgentName(name) || rest.length === 0) {
      foreign.push(path);
      continue;
    }
    let one = all.get(name);
    if (one === undefined) all.set(name, (one = emptyListing()));
    sort(one, name, rest.join("/"), path, size);
  }
  for (const one of all.values()) {
    // By number, then hash: what is decided by who comes first must not hang on the bucket's order.
    one.heads.sort((a, b) => a.n - b.n || (a.hash < b.hash ? -1 : 1));
    one.foreign.sort();
  }
  return {
    of: (name) => all.get(name) ?? emptyListing(),
    agents: [...all].flatMap(([name, { heads }]) => (heads.length > 0 ? [name] : [])).toSorted(),
    foreign: foreign.toSorted(),
  };
}

export async function listAgent(bucket: Bucket, agent: AgentName): Promise<AgentListing> {
  return (await listBucket(bucket, agent)).of(agent);
}

const ABOVE = "agents/";

interface OpenListing extends AgentListing {
  readonly heads: HeadName[];
  readonly packs: Map<Hash, number>;
  readonly marks: Set<Hash>;
  readonly foreign: string[];
}

const emptyListing = (): OpenListing => ({ heads: [], packs: new Map(), marks: new Set(), foreign: [] });

function sort(into: OpenListing, agent: AgentName, rest: string, path: string, size: number): void {
  const head = HEAD.exec(rest);
  const pack = PACK.exec(rest);
  if (head !== null && isCounter(Number(head[2]))) {
    into.heads.push({ agent, device: head[1] as DeviceId, n: Number(head[2]), hash: head[3] as Hash });
  } else if (pack?.[2] === "pack") into.packs.set(pack[1] as Hash, size);
  else if (pack !== null) into.marks.add(pack[1] as Hash);
  else if (!rest.startsWith("databases/")) into.foreign.push(path);
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

/** Bytes of an agent's packs, without those that others took the place of. */
export function packBytes({ packs, marks }: AgentListing, isHere: (pack: Hash) => boolean = () => false): number {
  return [...packs].reduce((sum, [pack, size]) => (marks.has(pack) || isHere(pack) ? sum : sum + size), 0);
}

/** The foreign files in a sentence, or nothing. */
export function foreignNotes(foreign: readonly string[]): string[] {
  if (foreign.length === 0) return [];
  const more = foreign.length > 5 ? ` and ${foreign.length - 5} more` : "";
  return [`the bucket has files that are not vlinder's, left alone: ${foreign.slice(0, 5).join(", ")}${more}`];
}
