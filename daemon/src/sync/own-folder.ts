import { realpath } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { invalid } from "@vlinder/protocol";

/**
 * A bucket in the home is lost with the home, lies among databases that are in use, and is said to be safe all the same.
 * @throws invalid: a folder that is the home, in it, or around it
 */
export async function refuseOwnFolder(home: string, uri: string): Promise<void> {
  // What is no good file: URI is for who opens it to refuse.
  const folder = folderOf(uri);
  if (folder === null) return;
  const [own, bucket] = await Promise.all([realFolder(home), realFolder(folder)]);
  if (!isIn(bucket, own) && !isIn(own, bucket)) return;
  throw invalid(`the bucket ${uri} and the home ${own} are one in the other`, {
    remedy: "name a folder outside of the home, best on another disk",
    details: { bucket: uri, home: own },
  });
}

function folderOf(uri: string): string | null {
  try {
    return fileURLToPath(uri);
  } catch {
    return null;
  }
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
