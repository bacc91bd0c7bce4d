import {
  type AgentName,
  type DeviceId,
  invalid,
  type PullReply,
  type PushReply,
  type RetireReply,
  VlinderError,
} from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import { publishedBranches, publishedCommits } from "./branches.ts";
import { headPath, type HeadBody } from "./head.ts";
import type { AgentListing, Listing } from "./listing.ts";
import type { PackJob } from "./packs/keeper.ts";
import { reopenHead } from "./vault/sealer.ts";

/** The device that is meant by an id or its first digits. @throws invalid: more than one, or this machine's; not_found */
export function deviceToRetire(text: string, self: DeviceId, known: readonly DeviceId[]): DeviceId {
  const found = [...new Set([...known, self])].filter((device) => device.startsWith(text));
  const remedy = "vlinder sync status --json lists the devices";
  const [device, another] = found;
  if (device === undefined) {
    throw new VlinderError("not_found", `no device ${text} is known here`, { remedy, details: { device: text } });
  }
  if (another !== undefined) throw invalid(`several devices begin with ${text}`, { remedy });
  if (device === self) {
    throw invalid("this machine can't retire itself", {
      remedy: "run it on another machine, after the last `vlinder sync push` of this one",
    });
  }
  return device;
}

/** @throws what kept an agent from being pulled or pushed */
export function requireDone({ agents }: PullReply | PushReply): void {
  const failed = agents.find(({ error }) => error !== null);
  if (failed?.error == null) return;
  const { code, message, details } = failed.error;
  throw new VlinderError(code, `${failed.agent} could not be brought up to date, so nothing was retired: ${message}`, {
    details,
  });
}

/** A sentence for each agent that is not here, and has heads of the device: what these reach is known to nobody here. */
function strangers(listing: Listing, device: DeviceId, here: readonly { readonly name: AgentName }[]): string[] {
  const names = listing.agents.filter((agent) => !here.some(({ name }) => name === agent));
  return names
    .filter((agent) => listing.of(agent).heads.some((head) => head.device === device))
    .map((agent) => `the device's heads of ${agent} stay: that agent is not on this machine`);
}

export interface RetiredHeads {
  /** Paths of the device's heads, of which nothing is lost. */
  readonly paths: readonly string[];
  readonly notes: readonly string[];
}

/**
 * The heads of a device that may be deleted, as all that they reach is on branches here, which were pushed. @throws conflict: the
 * device has written since, or its branches stay apart from those here
 */
export async function retiredHeads(job: PackJob, listing: AgentListing, device: DeviceId): Promise<RetiredHeads> {
  const paths: string[] = [];
  const notes: string[] = [];
  for (const name of listing.heads) {
    if (name.device !== device) continue;
    const bytes = job.state.headFile(name.hash);
    if (bytes === null) notes.push(`${headPath(name)} is refused, so it stays: see vlinder sync status`);
    else {
      await requireHeld(job.exchange, reopenHead(bytes, name, job.vault, job.sealer).body);
      paths.push(headPath(name));
    }
  }
  return { paths, notes };
}

async function requireHeld(exchange: Exchange, { agent, device, n, branches }: HeadBody): Promise<void> {
  const heads = branches.flatMap(({ head }) => head ?? []);
  const ours = await publishedCommits(exchange, publishedBranches(exchange));
  const here = (await exchange.has(heads)).every(Boolean);
  let missing = here ? 0 : 1;
  if (here) for await (const _ of exchange.newCommits(heads, ours)) missing++;
  if (missing === 0) return;
  throw new VlinderError(
    "conflict",
    `head ${n} of device ${device} reaches commits of ${agent} that no branch here does`,
    {
      remedy: "it may be in use: run vlinder sync pull, look at vlinder branch list, and try again",
      details: { agent, device },
    },
  );
}

/** Takes a device's claim from each of these agents, and says where something stays. */
export async function retireFrom<One extends { readonly name: AgentName }>(
  device: DeviceId,
  listing: Listing,
  here: readonly One[],
  retire: (one: One) => Promise<RetiredHeads>,
): Promise<RetireReply> {
  const agents: string[] = [];
  const notes = strangers(listing, device, here);
  for (const one of here) {
    const retired = await retire(one);
    if (retired.paths.length > 0) agents.push(one.name);
    notes.push(...retired.notes);
  }
  return { device, agents, notes };
}
