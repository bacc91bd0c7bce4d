import type { AgentListing } from "../listing.ts";
import type { Marks } from "./marks.ts";
import type { PackLedger } from "./pack-ledger.ts";

/** Whether packs that are known are not there as they were, or a mark lies beside them: then a pull says what became of them. */
export function isUnsure({ packs, marks }: AgentListing, state: PackLedger): boolean {
  return state.packs().some(({ name, size }) => packs.get(name) !== size || marks.has(name));
}

/**
 * Packs that were known and are not there any more, or that are to be deleted and nothing is known of what replaced them: what they
 * held counts as owed again. To be asked after a pull, so that what was erased elsewhere is not sent again.
 */
export async function forgetLost(listing: AgentListing, state: PackLedger, marks: Marks): Promise<string[]> {
  for (const { seq, name, size } of state.packs()) {
    const isThere = listing.packs.get(name) === size;
    if (isThere && (await marks.of(name)) === null) continue;
    state.forgetFrom(seq);
    const what = isThere ? "drops" : "lacks";
    return [`the bucket ${what} pack ${name}, which was there: what it and those after it held is sent again`];
  }
  return [];
}
