import type { Hash } from "@vlinder/protocol";
import { VALUES } from "../erasures.ts";
import type { AgentListing } from "../listing.ts";
import { decodePack } from "../pack.ts";
import { retrying } from "../retry.ts";
import { fetchPack } from "./fetch-pack.ts";
import type { PackJob } from "./keeper.ts";
import { partsFirst } from "./parts-first.ts";
import { readClaimed } from "./read-claimed.ts";
import type { Route } from "./route.ts";

/**
 * A value was judged by the commits that were here then: one that came later may need it after all. Such values are taken from the
 * packs that hold them, and stay there. To be asked when all heads are pulled, and before anything is left out of packs.
 */
export async function reclaimNeeded(job: PackJob, listing: AgentListing, route: Route): Promise<void> {
  const { exchange, state } = job;
  const held = state.forgottenHeld();
  if (held.length === 0) return;
  // What a mark says of packs that were not read is not enough to leave something out of them.
  for (const pack of new Set(held.flatMap(({ isLive, pack: name }) => (isLive ? [] : [name])))) {
    await readClaimed(job, listing, await route.standIns(pack));
  }
  const needed = new Set(await exchange.retention.needed([...new Set(held.map(({ hash }) => hash))]));
  state.comesBack([...needed].map((hash) => ({ hash })));
  const missing = new Map<Hash, Set<Hash>>();
  for (const { kind, hash, pack } of held) {
    if (!needed.has(hash) || (await exchange.read(kind, [hash]))[0] != null) continue;
    for (const name of listing.packs.has(pack) ? [pack] : await route.standIns(pack)) {
      missing.set(name, (missing.get(name) ?? new Set()).add(hash));
    }
  }
  for (const [pack, hashes] of missing) await takeValues(job, pack, hashes);
}

async function takeValues(
  { agent, bucket, exchange, retries, sealer }: PackJob,
  pack: Hash,
  hashes: ReadonlySet<Hash>,
) {
  const objects = await decodePack(await retrying(retries, () => fetchPack(bucket, agent, pack)), sealer);
  const byName = new Map(objects.map((object) => [`${object.kind} ${object.hash}`, object]));
  const values = objects.filter(({ kind, hash }) => VALUES.has(kind) && hashes.has(hash));
  if (values.length > 0) await exchange.receive([...new Set(values.flatMap((value) => partsFirst(value, byName)))]);
}
