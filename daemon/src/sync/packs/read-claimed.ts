import type { Hash } from "@vlinder/protocol";
import type { AgentListing } from "../listing.ts";
import { decodePack, packRawLength } from "../pack.ts";
import { retrying } from "../retry.ts";
import { fetchPack } from "./fetch-pack.ts";
import type { PackJob } from "./keeper.ts";

/** Reads those of these packs of which it is only claimed what they hold. */
export async function readClaimed(job: PackJob, listing: AgentListing, packs: readonly Hash[]): Promise<void> {
  const { state, agent, bucket, retries, sealer } = job;
  const claimed = new Set(state.packs().flatMap((pack) => (pack.claimed ? [pack.name] : [])));
  for (const name of packs) {
    if (!claimed.delete(name) || !listing.packs.has(name)) continue;
    const stored = await retrying(retries, () => fetchPack(bucket, agent, name));
    const raw = packRawLength(stored, sealer !== null);
    await state.addPack(name, stored.length, await decodePack(stored, sealer), { raw });
  }
}
