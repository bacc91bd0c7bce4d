import type { Bucket } from "./bucket.ts";
import { folderOf, schemeOf } from "./bucket-uri.ts";
import { openFileBucket } from "./file.ts";
import { openHfBucket } from "./hf.ts";

export interface OpenBucketOptions {
  /** Makes the bucket when it is not there. Only `init` asks for it. */
  readonly create?: boolean;
}

/** Opens a bucket by its URI. @throws invalid, unavailable, denied */
export async function openBucket(uri: string, options: OpenBucketOptions = {}): Promise<Bucket> {
  const scheme = schemeOf(uri);
  if (scheme === "file") return openFileBucket(uri, folderOf(uri), options);
  if (scheme === "hf") return openHfBucket(uri, options);
  // The client is large, and most homes have no such bucket.
  const { openS3Bucket } = await import("./s3.ts");
  return openS3Bucket(uri, options);
}
