import { mergeJson } from "./json-merge.ts";
import type { Merged, NotMerged } from "./merged-document.ts";
import { mergeTexts } from "./text-merge.ts";

/** Larger values are not merged, in bytes. */
export const MOST_BYTES = 4 * 1024 * 1024;

export type DocumentPolicy = "json" | "lines";

/**
 * Three-way merge of two versions of a document by what is in them. A pure function of its arguments,
 * described byte for byte in docs/formats.md: machines that merge apart from each other must come to
 * the same bytes.
 *
 * @param base the version that both come from; null: there is none
 */
export function mergeDocuments(
  policy: DocumentPolicy,
  base: Uint8Array | null,
  newer: Uint8Array,
  older: Uint8Array,
): Merged | NotMerged {
  return policy === "json" ? mergeJson(base, newer, older) : mergeTexts(base, newer, older);
}
