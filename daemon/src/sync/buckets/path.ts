import { invalid } from "@vlinder/protocol";

const PART = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;
const PREFIX = /^[A-Za-z0-9._/-]*$/;
const MAX_CHARS = 512;

/** Whether a bucket accepts it as the name of a file. */
export function isBucketPath(path: string): boolean {
  return path.length <= MAX_CHARS && path.split("/").every((part) => PART.test(part));
}

/** The parts of a path. @throws invalid */
export function bucketPathParts(path: string): string[] {
  if (isBucketPath(path)) return path.split("/");
  throw invalid(`not a path in a bucket: ${JSON.stringify(path).slice(0, 120)}`, {
    remedy: "paths are relative, of A-Z, a-z, 0-9, . _ - and /, and no part is empty or starts with a dot",
  });
}

/** @throws invalid */
export function checkBucketPrefix(prefix: string): void {
  const parts = prefix.split("/");
  if (PREFIX.test(prefix) && parts.every((part, i) => i === parts.length - 1 || PART.test(part))) {
    if (!(parts.at(-1) as string).startsWith(".")) return;
  }
  throw invalid(`not a prefix of paths in a bucket: ${JSON.stringify(prefix).slice(0, 120)}`);
}
