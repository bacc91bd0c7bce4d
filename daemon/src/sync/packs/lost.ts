import type { Hash } from "@vlinder/protocol";
import { type AgentListing, packPath } from "../listing.ts";
import { retrying } from "../retry.ts";
import type { PackJob } from "./keeper.ts";
import type { Marks } from "./marks.ts";
import type { PackLedger } from "./pack-ledger.ts";

/** Whether packs that are known are not there as they were, or a mark lies beside them: then a pull says what became of them. */
export function isUnsure({ packs, marks }: AgentListing, state: PackLedger): boolean {
  return state.packs().some(({ name, size }) => packs.get(name) !== size || marks.has(name));
}

/**
 * Packs that were known and are not there any more, or that are to be deleted and nothing is known of what replaced them: what they
 * held counts as owed again. To be asked after a pull, so that what was erased elsewhere is not sent again.
 *
 * A list may come behind, and all behind a lost pack is sent again, which may be gigabytes: so a pack that is not
 * listed is lost only when reading it gives nothing.
 */
export async function forgetLost(job: PackJob, listing: AgentListing, marks: Marks): Promise<string[]> {
  const { state } = job;
  for (const { seq, name, size } of state.packs()) {
    const listed = listing.packs.get(name);
    const isThere = listed === size || (listed === undefined && (await canBeRead(job, name)));
    if (isThere && (await marks.of(name)) === null) continue;
    state.forgetFrom(seq);
    const what = isThere ? "drops" : "lacks";
    return [`the bucket ${what} pack ${name}, which was there: what it and those after it held is sent again`];
  }
  return [];
}

async function canBeRead({ agent, bucket, retries }: PackJob, name: Hash): Promise<boolean> {
  return (await retrying(retries, () => bucket.get(packPath(agent, name), { start: 0, end: 1 }))) !== null;
}
