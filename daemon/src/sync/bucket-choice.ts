import { join } from "node:path";
import { canonicalJson, invalid, parseCanonicalJson } from "@vlinder/protocol";
import { refuseNewer } from "../file-version.ts";
import { readHomeFile, writeHomeFile } from "./home-file.ts";

const fileOf = (home: string): string => join(home, "sync", "bucket.json");

/** The bucket that a home uses. */
export interface BucketChoice {
  readonly uri: string;
  /** When this home made a vault in a bucket last: what it knew of packs before was about another place. Null: it never did. */
  readonly made: string | null;
}

/** The bucket that this home uses; null: none. @throws invalid, unavailable */
export async function readBucketChoice(home: string): Promise<BucketChoice | null> {
  const bytes = await readHomeFile(fileOf(home));
  if (bytes === null) return null;
  const value = parseCanonicalJson(bytes, "bucket.json") as Record<string, unknown> | null;
  // The first release wrote no version.
  refuseNewer(fileOf(home), value?.["v"], 1);
  const { uri, made = null } = value ?? {};
  if (typeof uri === "string") return { uri, made: typeof made === "string" ? made : null };
  throw invalid(`${fileOf(home)} names no bucket`, { remedy: "run vlinder init again" });
}

export async function writeBucketChoice(home: string, { uri, made }: BucketChoice): Promise<void> {
  await writeHomeFile(fileOf(home), canonicalJson({ ...(made === null ? {} : { made }), uri, v: 1 }));
}
