import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { openBucket } from "../sync/buckets/open.ts";
import { nothingToJoin } from "../sync/vault/refusals.ts";

/** A bucket's URI; `me/vault` is short for one on Hugging Face, and a path that can be nothing else is a folder's. */
export function bucketUri(text: string): string {
  if (/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(text)) return `hf://buckets/${text}`;
  return /^\.{0,2}\//.test(text) ? pathToFileURL(resolve(text)).href : text;
}

/**
 * Refuses a bucket that holds no memory: who clones expects some, and must not make a new vault in
 * a mistyped folder. @throws not_found, and what opening the bucket throws
 */
export async function requireVault(uri: string): Promise<void> {
  const bucket = await openBucket(uri);
  try {
    if ((await bucket.get("vault.json", { start: 0, end: 1 })) === null) throw nothingToJoin(uri);
  } finally {
    await bucket.close();
  }
}
