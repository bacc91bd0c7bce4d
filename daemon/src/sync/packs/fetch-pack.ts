import { type AgentName, type Hash, invalid, sha256, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { packPath } from "../listing.ts";
import { PACK_LIMITS } from "../pack.ts";

/** A pack's stored bytes. Missing or altered is retryable: a listing lags, a folder is still being copied. @throws unavailable, invalid */
export async function fetchPack(bucket: Bucket, agent: AgentName, name: Hash): Promise<Buffer> {
  const path = packPath(agent, name);
  const bytes = await bucket.get(path, { start: 0, end: PACK_LIMITS.sealed + 1 });
  const remedy =
    "if the bucket is still being copied, wait; else a machine that has the memory must push again: remove the file " +
    "if it is there, and run vlinder sync push on that machine";
  const details = { bucket: bucket.uri, path };
  if (bytes === null) {
    throw new VlinderError("unavailable", `the bucket ${bucket.uri} lacks ${path}, which a head names`, {
      remedy,
      details,
    });
  }
  if (bytes.length > PACK_LIMITS.sealed) throw invalid(`${path} is larger than a pack may be`, { remedy, details });
  if (sha256(bytes) === name) return bytes;
  throw new VlinderError("unavailable", `${path} in the bucket ${bucket.uri} is damaged: its hash is another`, {
    remedy,
    details,
  });
}
