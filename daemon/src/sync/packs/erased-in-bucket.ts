import type { PackLedger } from "./pack-ledger.ts";

/** How many packs in the bucket still hold values that were erased. */
export interface ErasedInBucket {
  /** The next push writes these anew. */
  readonly named: number;
  /** These were written anew, and are kept for machines that have not pulled since, for this long at most, in milliseconds. */
  readonly replaced: number;
  readonly grace: number;
}

export function erasedInBucket(state: PackLedger, grace: number): ErasedInBucket {
  return {
    named: new Set(state.forgottenIn().map(({ pack }) => pack)).size,
    replaced: new Set(state.leftOut().map(({ pack }) => pack)).size,
    grace,
  };
}

/** In a sentence each, or nothing. */
export function erasedNotes({ named, replaced, grace }: ErasedInBucket): string[] {
  const days = Math.ceil(grace / (24 * 3_600_000));
  return [
    ...(named === 0 ? [] : [`${named} packs in the bucket hold values that were erased: the next push takes them out`]),
    ...(replaced === 0
      ? []
      : [
          `${replaced} packs that hold erased values are still in the bucket, though replaced: they are deleted by the first push after every ` +
            `machine has pulled and pushed, or by one after ${days} days`,
        ]),
  ];
}
