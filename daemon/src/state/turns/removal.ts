import type { Ground } from "../retention/ground.ts";
import { NO_ROOTS } from "../retention/ground.ts";
import type { KeepingOptions } from "../retention/keeping.ts";
import type { Turns } from "./turns.ts";

/** What removal must leave alone, and no branch reaches: unfinished uploads, and what open turns took of them. */
export function unreached(uploads: Ground["uploads"], turns: Turns): Ground["uploads"] {
  return {
    *reached() {
      yield* uploads.reached();
      yield* turns.reached();
    },
    erase: (hashes) => uploads.erase(hashes),
    storeTurns: () => turns.store(),
    get unstored() {
      return uploads.unstored + turns.unstored;
    },
  };
}

/** States that open turns are built on stay, whatever their age. */
export function withTurns(options: KeepingOptions, turns: Turns): KeepingOptions {
  const { roots = () => NO_ROOTS } = options;
  return { ...options, roots: () => ({ heads: async () => [...(await roots().heads()), ...turns.bases()] }) };
}
