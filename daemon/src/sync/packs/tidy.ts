import { asVlinderError } from "@vlinder/protocol";
import type { AgentListing } from "../listing.ts";
import type { PackJob } from "./keeper.ts";
import { mergePacks } from "./merge.ts";
import { forgetDeleted, sweep } from "./sweep.ts";

export interface Tidied {
  /** A head is to be written that names the packs of now. */
  readonly changed: boolean;
  readonly notes: readonly string[];
}

/**
 * What a push ends with: packs are merged where there are many, or written anew without what was erased; else those are deleted that are
 * due. Never fails: all is in the bucket, and what was not done is done with a later push.
 *
 * @param listing as the push began
 */
export async function tidyPacks(job: PackJob, listing: AgentListing): Promise<Tidied> {
  const odd = job.state.packs().find(({ name }) => listing.marks.has(name));
  if (odd !== undefined) {
    return { changed: false, notes: [`packs are neither merged nor deleted: the mark beside ${odd.name} is refused`] };
  }
  const notes: string[] = [];
  const attempt = async (work: () => Promise<boolean>): Promise<boolean> => {
    try {
      return await work();
    } catch (thrown) {
      const error = asVlinderError(thrown);
      // On `conflict` another machine marks the same packs at this moment: the next pull takes its word.
      if (error.code !== "conflict")
        notes.push(`packs could not be merged or deleted, which is tried again: ${error.message}`);
      return false;
    }
  };
  const changed =
    (await attempt(() => mergePacks(job, listing))) ||
    (await attempt(async () => {
      await forgetDeleted(job, listing);
      const swept = await sweep(job, listing);
      notes.push(...swept.notes);
      return swept.changed;
    }));
  return { changed, notes: [...new Set(notes)] };
}
