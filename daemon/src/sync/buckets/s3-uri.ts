import { invalid, type VlinderError } from "@vlinder/protocol";
import { isBucketPath } from "./path.ts";

/** Where a bucket of S3 is. */
export interface S3Address {
  readonly bucket: string;
  /** Before each path: "" or ends with "/". */
  readonly prefix: string;
  /** `https://host[:port][/path]`; undefined for Amazon's own. */
  readonly endpoint: string | undefined;
  readonly region: string;
}

const FORM = "s3://<bucket>[/prefix][?endpoint=https://host&region=name]";
const KEYS: ReadonlySet<string> = new Set(["endpoint", "region"]);
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/;
const REGION = /^[a-z0-9][a-z0-9-]{0,62}$/;

/**
 * Reads `s3://<bucket>[/prefix][?endpoint=…&region=…]`. The region is `us-east-1` when none is named, as services that are
 * not Amazon's want it. Errors never quote the URI: somebody may have written a key into it.
 *
 * @throws invalid
 */
export function parseS3Uri(uri: string): S3Address {
  const match = /^s3:\/\/([^/?#]*)(\/[^?#]*)?(\?[^#]*)?$/.exec(uri);
  if (match === null) throw refused("it is not of the form", `use ${FORM}`);
  const [, bucket = "", path = "", query = ""] = match;
  if (bucket.includes("@")) throw secretInUri();
  if (!BUCKET.test(bucket)) {
    throw refused("the name of the bucket is none", "a bucket's name has 2 to 63 of A-Z, a-z, 0-9, . _ -");
  }
  const prefix = path.replace(/^\//, "").replace(/\/$/, "");
  if (prefix !== "" && !isBucketPath(prefix)) {
    throw refused(
      "the prefix is none",
      "a prefix is of A-Z, a-z, 0-9, . _ - and /, and no part is empty or starts with a dot",
    );
  }
  const values = queryValues(query);
  const region = values.get("region") ?? "us-east-1";
  if (!REGION.test(region)) throw refused("the region is none", "write it as the service does: region=eu-west-1");
  const endpoint = values.get("endpoint");
  return {
    bucket,
    prefix: prefix === "" ? "" : `${prefix}/`,
    endpoint: endpoint === undefined ? undefined : endpointOf(endpoint),
    region,
  };
}

function queryValues(query: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const [key, value] of new URLSearchParams(query)) {
    if (!KEYS.has(key)) {
      const name = JSON.stringify(key).slice(0, 40);
      throw refused(`there is no setting ${name}`, "after ? only endpoint and region may be set");
    }
    if (values.has(key)) throw refused(`${key} is set twice`, "leave one of them out");
    values.set(key, value);
  }
  return values;
}

function endpointOf(text: string): string {
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw refused("the endpoint is no address", "write endpoint=https://host or endpoint=http://host:port");
  }
  if (url.username !== "" || url.password !== "") throw secretInUri();
  if (url.search !== "" || url.hash !== "") {
    throw refused("the endpoint has more than host and path", "leave out what follows ? or # in the endpoint");
  }
  return url.href.replace(/\/+$/, "");
}

function secretInUri(): VlinderError {
  return refused(
    "it has a user or a password in it, and a URI is shown in logs",
    "take it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials",
  );
}

function refused(why: string, remedy: string): VlinderError {
  return invalid(`not the URI of an S3 bucket: ${why}`, { remedy });
}
