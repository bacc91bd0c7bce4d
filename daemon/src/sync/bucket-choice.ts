import { join } from "node:path";
import { canonicalJson, invalid, parseCanonicalJson } from "@vlinder/protocol";
import { refuseNewer } from "../file-version.ts";
import { readHomeFile, writeHomeFile } from "./home-file.ts";

const fileOf = (home: string): string => join(home, "sync", "bucket.json");

/** The URI of the bucket that this home uses; null: none. @throws invalid, unavailable */
export async function readBucketChoice(home: string): Promise<string | null> {
  const bytes = await readHomeFile(fileOf(home));
  if (bytes === null) return null;
  const value = parseCanonicalJson(bytes, "bucket.json") as Record<string, unknown> | null;
  // The first release wrote no version.
  refuseNewer(fileOf(home), value?.["v"], 1);
  if (typeof value?.["uri"] === "string") return value["uri"];
  throw invalid(`${fileOf(home)} names no bucket`, { remedy: "run vlinder init again" });
}

export async function writeBucketChoice(home: string, uri: string): Promise<void> {
  await writeHomeFile(fileOf(home), canonicalJson({ uri, v: 1 }));
}
