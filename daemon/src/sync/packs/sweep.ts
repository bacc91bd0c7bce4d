import type { DeviceId, Hash } from "@vlinder/protocol";
import { VALUES } from "../erasures.ts";
import { findHeads, type FoundHeads } from "../found-heads.ts";
import { namedPacks } from "../head.ts";
import { type AgentListing, listAgent, packPath } from "../listing.ts";
import { decodePack } from "../pack.ts";
import { retrying } from "../retry.ts";
import type { BucketFile } from "../buckets/bucket.ts";
import { sealFile } from "../vault/sealer.ts";
import { fetchPack } from "./fetch-pack.ts";
import type { PackJob } from "./keeper.ts";
import { isUnsure } from "./lost.ts";
import { encodeMark, type Mark, markPath } from "./mark.ts";
import { Marks } from "./marks.ts";
import type { KnownPack } from "./pack-ledger.ts";
import { readClaimed } from "./read-claimed.ts";
import { rescue } from "./resend.ts";
import { Route } from "./route.ts";

/** Marks stay for so many graces after their packs are gone, and longer while a head's packs are found by them. */
const MARKS_STAY = 10;
/** After so many graces a machine reads what a mark only claims, if it must to delete what the mark names. */
const READ_CLAIMED = 2;

/** So many packs that others deleted are known before what is known of them is looked through. */
const DELETED = 64;

export interface Swept {
  /** Files that were deleted. */
  readonly deleted: number;
  /** Whether a head must be written: something was sent again. */
  readonly changed: boolean;
  /** What keeps packs from being deleted that are due. */
  readonly notes: readonly string[];
}

const NOTHING: Swept = { deleted: 0, changed: false, notes: [] };

/** Files that seem due, by what was seen last: whether they are is asked once more, with all heads read anew. */
interface Due {
  readonly packs: readonly Hash[];
  readonly unnamed: readonly Hash[];
  readonly marks: readonly Hash[];
}

/**
 * Deletes replaced packs whose grace is over, packs that nobody ever named, and marks that nobody needs any more. All heads are read once more before
 * that. What is deleted must be held by packs that were read here, that are there and are not marked; a head that can't be
 * read, was not pulled whole, or vanished without a successor, keeps everything.
 *
 * A pack that was replaced to leave out what was erased goes as soon as no head names it.
 */
export async function sweep(job: PackJob, listing: AgentListing): Promise<Swept> {
  if (isEmpty(await due(job, listing, heads(job), new Marks({ ...job, listing })))) return NOTHING;
  const fresh = await retrying(job.retries, () => listAgent(job.bucket, job.agent));
  const marks = new Marks({ ...job, listing: fresh });
  const route = new Route(fresh, marks, job.state);
  const found = await findHeads(fresh, job);
  const ready = await due(job, fresh, heads(job), marks);
  if (isEmpty(ready)) return NOTHING;
  const { notes, isClear } = await obstacles(job, fresh, found, route);
  if (!isClear) return { ...NOTHING, notes };
  if (ready.unnamed.length > 0) await markUnnamed(job, ready.unnamed);
  const { packs, changed } = await deletable(job, fresh, marks, ready.packs);
  const files = [
    ...packs.map((name) => packPath(job.agent, name)),
    ...ready.marks.map((name) => markPath(job.agent, name)),
  ];
  if (files.length > 0) await retrying(job.retries, () => job.bucket.delete(files));
  for (const name of packs) job.state.dropPack(name);
  return { deleted: files.length, changed, notes };
}

function isEmpty({ packs, unnamed, marks }: Due): boolean {
  return packs.length + unnamed.length + marks.length === 0;
}

/** Packs that heads name: those of other machines as they were read last, and what this one names. */
function heads({ state }: PackJob): ReadonlySet<Hash> {
  return new Set([
    ...state.headFiles().flatMap((bytes) => namedPacks(bytes)),
    ...state.packs().map(({ name }) => name),
  ]);
}

async function due(job: PackJob, listing: AgentListing, named: ReadonlySet<Hash>, marks: Marks): Promise<Due> {
  const { agent, state, now, policy } = job;
  const marked = [...listing.marks];
  const unnamed = [...listing.packs.keys()].filter(
    (name) => !listing.marks.has(name) && !named.has(name) && !state.hasPack(name),
  );
  const since = state.sight(
    [...marked.map((name) => markPath(agent, name)), ...unnamed.map((name) => packPath(agent, name))],
    now(),
  );
  const isOld = (path: string, graces: number): boolean =>
    now().getTime() - (since.get(path) as Date).getTime() >= graces * policy.grace;
  const packs: Hash[] = [];
  for (const name of marked) {
    if (!listing.packs.has(name)) continue;
    const old = isOld(markPath(agent, name), 1);
    const mark = old || !named.has(name) ? await marks.of(name) : null;
    if (mark === null) continue;
    const isDue = old && now().getTime() - Date.parse(mark.time) >= policy.grace;
    if (isDue || (hasErased(mark) && !named.has(name))) packs.push(name);
  }
  return {
    packs,
    unnamed: unnamed.filter((name) => isOld(packPath(agent, name), 1)),
    marks: await unneededMarks(
      marked.filter((name) => !listing.packs.has(name) && isOld(markPath(agent, name), MARKS_STAY)),
      named,
      marks,
    ),
  };
}

/** Those of these marks over which no way goes from a pack that a head names to what stands in its place. */
async function unneededMarks(old: readonly Hash[], named: ReadonlySet<Hash>, marks: Marks): Promise<Hash[]> {
  if (old.length === 0) return [];
  const needed = new Set<Hash>();
  const open = [...named];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (needed.has(name)) continue;
    needed.add(name);
    const mark = await marks.of(name);
    if (mark !== null) open.push(...mark.after, ...mark.by.map((by) => by.name));
  }
  return old.filter((name) => !needed.has(name));
}

/** Whether the pack was replaced to leave something out; not so one that nobody named, of which nothing is known. */
function hasErased({ left, by }: Mark): boolean {
  return left === null ? by.length > 0 : left.length > 0;
}

/** Whether all heads are known and pulled; what a person has to do about it, where one has; and what was found on the way. */
async function obstacles(
  { state, exchange, isRetired }: PackJob,
  listing: AgentListing,
  found: FoundHeads,
  route: Route,
): Promise<{ notes: string[]; isClear: boolean }> {
  const notes = [...found.notes];
  const stays = "replaced packs stay in the bucket until then";
  if (notes.some((note) => note.startsWith("refused"))) {
    return { notes: [...notes, `a head in the bucket can't be used: ${stays}`], isClear: false };
  }
  const there = new Set<DeviceId>(listing.heads.map(({ device }) => device));
  const gone = state.seenHeads().filter(({ device }) => !there.has(device) && !isRetired(device));
  for (const { device } of gone) {
    notes.push(`the head of device ${device} vanished; if it is lost: vlinder sync retire ${device}: ${stays}`);
  }
  if (gone.length > 0 || isUnsure(listing, state)) return { notes, isClear: false };
  await route.begin();
  for (const { body } of found.heads) {
    const open = await route.plan(body.packs);
    const here = await exchange.has(body.branches.flatMap(({ head }) => head ?? []));
    // It comes with the next pull.
    if (open.length > 0 || !here.every(Boolean)) return { notes, isClear: false };
  }
  return { notes, isClear: true };
}

/** Of these packs those of which nothing is lost; what only they hold and is needed is sent again first. */
async function deletable(
  job: PackJob,
  listing: AgentListing,
  marks: Marks,
  candidates: readonly Hash[],
): Promise<{ packs: Hash[]; changed: boolean }> {
  const { state } = job;
  await readLongClaimed(job, listing, marks, candidates);
  const live = new Set(state.packs().map(({ name }) => name));
  const kept = await keptPacks(job, listing);
  for (const name of candidates) if (live.has(name)) kept.add(name);
  let changed = false;
  for (const name of candidates) {
    const mark = kept.has(name) ? null : await marks.of(name);
    if (mark === null || mark.left?.length === 0) continue;
    const stored = await retrying(job.retries, () => fetchPack(job.bucket, job.agent, name));
    const lacking = (await decodePack(stored, job.sealer)).filter(
      ({ kind, hash }) => VALUES.has(kind) && !state.has(kind, hash),
    );
    if (!(await rescue(job, listing.marks, lacking))) continue;
    kept.add(name);
    changed = true;
  }
  return { packs: candidates.filter((name) => !kept.has(name)), changed };
}

/** Replaced packs that hold what no pack does which was read here, is there, and is to stay there. */
async function keptPacks({ state }: PackJob, { packs: there, marks }: AgentListing): Promise<Set<Hash>> {
  const replaced = new Map(state.replacedPacks().map(({ seq, name }) => [seq, name]));
  const isSafe = ({ name, size, claimed }: KnownPack): boolean =>
    !claimed && there.get(name) === size && !marks.has(name);
  const safe = new Set(state.packs().flatMap((pack) => (isSafe(pack) ? [pack.seq] : [])));
  const kept = new Set<Hash>();
  for await (const slice of state.held()) {
    for (const { kind, packs } of slice) {
      if (kind === "node" || kind === "snapshot" || packs.some((seq) => safe.has(seq))) continue;
      for (const seq of packs) {
        const name = replaced.get(seq);
        if (name !== undefined) kept.add(name);
      }
    }
  }
  return kept;
}

/** Lets go of what is known of packs that another machine has deleted, where it is known of their replacements, too. */
export async function forgetDeleted(job: PackJob, listing: AgentListing): Promise<void> {
  const gone = job.state.replacedPacks().filter(({ name }) => !listing.packs.has(name));
  if (gone.length < DELETED) return;
  const kept = await keptPacks(job, listing);
  for (const { name } of gone) if (!kept.has(name)) job.state.dropPack(name);
}

/** Replacements that were never read here: whoever wrote them may be lost, and somebody must know what they hold. */
async function readLongClaimed(
  job: PackJob,
  listing: AgentListing,
  marks: Marks,
  candidates: readonly Hash[],
): Promise<void> {
  const { now, policy } = job;
  const names = new Set<Hash>();
  for (const candidate of candidates) {
    const mark = await marks.of(candidate);
    const age = mark === null ? 0 : now().getTime() - Date.parse(mark.time);
    if (mark !== null && age >= READ_CLAIMED * policy.grace) for (const { name } of mark.by) names.add(name);
  }
  await readClaimed(job, listing, [...names]);
}

/** Packs of pushes that were cut off: whoever still means to name one has the grace to do so, and sends it again after that. */
async function markUnnamed(job: PackJob, packs: readonly Hash[]): Promise<void> {
  const { agent, bucket, device, now, retries, sealer, vault } = job;
  const self = device();
  const files: BucketFile[] = [];
  for (const name of packs) {
    const mark: Mark = {
      after: [],
      agent,
      by: [],
      device: self.id,
      key: self.key,
      left: null,
      packs: [name],
      time: now().toISOString(),
      vault,
    };
    files.push({ path: markPath(agent, name), bytes: await sealFile(encodeMark(mark, self), sealer) });
  }
  await retrying(retries, () => bucket.put(files));
}
