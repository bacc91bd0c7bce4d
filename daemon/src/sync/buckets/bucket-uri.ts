import { fileURLToPath } from "node:url";
import { invalid, type VlinderError } from "@vlinder/protocol";
import { parseHfUri } from "./hf-uri.ts";
import { parseS3Uri } from "./s3-uri.ts";
import { withoutSecrets } from "./shown-uri.ts";

const REMEDY = "use file:///path/to/folder, hf://buckets/OWNER/NAME or s3://bucket/prefix";

/** Which kind of bucket a URI names. @throws invalid: none */
export function schemeOf(uri: string): "file" | "hf" | "s3" {
  // oxlint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(uri)) {
    // URL drops some of them: another place than the one that was named would be used.
    throw refused("bucket", uri, "take out the control characters");
  }
  const scheme = /^([a-z0-9]+):/.exec(uri)?.[1];
  if (scheme === "file" || scheme === "hf" || scheme === "s3") return scheme;
  throw refused("bucket", uri, REMEDY);
}

/** Checks all of a bucket's URI that can be checked without asking for the bucket. @throws invalid */
export function checkBucketUri(uri: string): void {
  const scheme = schemeOf(uri);
  if (scheme === "file") folderOf(uri);
  else if (scheme === "hf") parseHfUri(uri);
  else parseS3Uri(uri);
}

/** The folder that `file:///path/to/folder` names. @throws invalid */
export function folderOf(uri: string): string {
  try {
    const url = new URL(uri);
    if (uri.startsWith("file:///") && url.host === "" && url.search === "" && url.hash === "") {
      return fileURLToPath(url);
    }
  } catch (cause) {
    throw refused("folder", uri, "use file:///path/to/folder", cause);
  }
  throw refused("folder", uri, "use three slashes: file:///path/to/folder");
}

function refused(what: string, uri: string, remedy: string, cause?: unknown): VlinderError {
  const text = `not the URI of a ${what}: ${JSON.stringify(withoutSecrets(uri)).slice(0, 120)}`;
  return invalid(text, { remedy, ...(cause === undefined ? {} : { cause }) });
}
