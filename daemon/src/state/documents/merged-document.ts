/** Why two documents are not merged by what is in them. */
export type Why = "not-json" | "not-text" | "too-large" | "erased";

export interface NotMerged {
  readonly why: Why;
}

/** The first places that are listed. */
export const MOST_PLACES = 100;

export interface Merged {
  readonly bytes: Buffer;
  /** Where both changed the same, and the newer one stands: JSON pointers, or `first,count` of lines. At most 100. */
  readonly places: readonly string[];
}
