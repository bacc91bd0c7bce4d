import { realpath } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { invalid } from "@vlinder/protocol";
import { folderOf, schemeOf } from "./buckets/bucket-uri.ts";

/**
 * A bucket in the home is lost with the home, lies among databases that are in use, and is said to be safe all the same.
 * @throws invalid: a folder that is the home, in it, or around it; no URI of a bucket
 */
export async function refuseOwnFolder(home: string, uri: string): Promise<void> {
  if (schemeOf(uri) !== "file") return;
  const [own, bucket] = await Promise.all([realFolder(home), realFolder(folderOf(uri))]);
  if (!isIn(bucket, own) && !isIn(own, bucket)) return;
  throw invalid(`the bucket ${uri} and the home ${own} are one in the other`, {
    remedy: "name a folder outside of the home, best on another disk",
    details: { bucket: uri, home: own },
  });
}

function isIn(folder: string, other: string): boolean {
  return folder === other || folder.startsWith(other.endsWith(sep) ? other : other + sep);
}

/** Through links, as far as it is there. What is wrong with it is for who opens it to say. */
async function realFolder(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) return path;
    return join(await realFolder(dirname(path)), basename(path));
  }
}
