import { invalid } from "@vlinder/protocol";
import { isBucketPath } from "./path.ts";
import { withoutSecrets } from "./shown-uri.ts";

export interface HfPlace {
  /** `owner/name`. */
  readonly id: string;
  /** Before every path in the bucket: empty, or parts with a "/" behind each. */
  readonly prefix: string;
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$/;

/** `hf://buckets/<owner>/<name>[/prefix]`. @throws invalid */
export function parseHfUri(uri: string): HfPlace {
  const [owner = "", name = "", ...prefix] = uri
    .replace(/^hf:\/\/buckets\//, "")
    .replace(/\/$/, "")
    .split("/");
  const isBucket =
    uri.startsWith("hf://buckets/") && [owner, name].every((one) => NAME.test(one) && !one.includes(".."));
  if (isBucket && (prefix.length === 0 || isBucketPath(prefix.join("/")))) {
    return { id: `${owner}/${name}`, prefix: prefix.map((part) => `${part}/`).join("") };
  }
  throw invalid(`not the URI of a bucket on Hugging Face: ${JSON.stringify(withoutSecrets(uri)).slice(0, 120)}`, {
    remedy: "use hf://buckets/OWNER/NAME, or with a folder in it hf://buckets/OWNER/NAME/FOLDER",
  });
}
