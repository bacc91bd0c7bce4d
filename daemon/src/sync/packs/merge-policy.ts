import { PACK_CUT } from "../pack-writer.ts";

/** What the policy asks of a pack. */
export interface Sized {
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of its raw payload; 0 when they are not known. */
  readonly raw: number;
}

/** Packs `start` up to and without `end`. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** Packs that are not full, as many as there may be before some are merged. */
export const MERGE_OVER = 32;

/** One that is half as large as a writer makes them is never read again only to be made larger. */
const FULL = PACK_CUT.raw / 2;

function isFull({ size, raw }: Sized): boolean {
  return Math.max(size, raw) >= FULL;
}

/**
 * Which stretches of a list of packs to merge, each by itself: none while there are few. In what is left each pack is at
 * least as large as all small ones behind it together up to the next full one, so there are few of them; and
 * a pack is written anew only with others that make it half as large again, so that all bytes that are ever rewritten
 * are O(n log n). Full packs stay, and part the stretches: what stands behind a pack may need it.
 */
export function stretchesToMerge(packs: readonly Sized[], over = MERGE_OVER): Stretch[] {
  if (packs.filter((pack) => !isFull(pack)).length <= over) return [];
  const stretches: Stretch[] = [];
  for (let start = 0; start < packs.length; start++) {
    let end = start;
    while (end < packs.length && !isFull(packs[end] as Sized)) end++;
    const stretch = growing(packs, start, end);
    if (stretch !== null) stretches.push(stretch);
    start = end;
  }
  return stretches;
}

/** From the first pack that is less than twice as large as all behind it. */
function growing(packs: readonly Sized[], start: number, end: number): Stretch | null {
  let behind = 0;
  let first = end;
  for (let i = end - 1; i >= start; i--) {
    const { size } = packs[i] as Sized;
    if (i < end - 1 && size < 2 * behind) first = i;
    behind += size;
  }
  return first === end ? null : { start: first, end };
}
