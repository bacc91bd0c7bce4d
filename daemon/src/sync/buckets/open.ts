import { fileURLToPath } from "node:url";
import { invalid } from "@vlinder/protocol";
import type { Bucket } from "./bucket.ts";
import { openFileBucket } from "./file.ts";
import { openHfBucket } from "./hf.ts";

export interface OpenBucketOptions {
  /** Makes the bucket when it is not there. Only `init` asks for it. */
  readonly create?: boolean;
}

/** Opens a bucket by its URI. @throws invalid, unavailable, denied */
export async function openBucket(uri: string, options: OpenBucketOptions = {}): Promise<Bucket> {
  // oxlint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(uri)) {
    // URL drops some of them: another place than the one that was named would be used.
    throw invalid(`not the URI of a bucket: ${JSON.stringify(uri).slice(0, 120)}`, {
      remedy: "take out the control characters",
    });
  }
  const scheme = /^[a-z0-9]+:/.exec(uri)?.[0] ?? "";
  if (scheme === "file:") return openFileBucket(uri, folderOf(uri), options);
  if (scheme === "hf:") return openHfBucket(uri, options);
  if (scheme === "s3:") {
    // The client is large, and most homes have no such bucket.
    const { openS3Bucket } = await import("./s3.ts");
    return openS3Bucket(uri, options);
  }
  throw invalid(`not the URI of a bucket: ${JSON.stringify(uri).slice(0, 120)}`, {
    remedy: "use file:///path/to/folder, hf://buckets/OWNER/NAME or s3://bucket/prefix",
  });
}

function folderOf(uri: string): string {
  try {
    const url = new URL(uri);
    if (uri.startsWith("file:///") && url.host === "" && url.search === "" && url.hash === "") {
      return fileURLToPath(url);
    }
  } catch (cause) {
    throw invalid(`not the URI of a folder: ${uri}`, { remedy: "use file:///path/to/folder", cause });
  }
  throw invalid(`not the URI of a folder: ${uri}`, { remedy: "use three slashes: file:///path/to/folder" });
}
