import { mkdir, realpath, symlink } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const SDK = "@vlinder/agent-runtime";

/**
 * Lets the code in a folder import the SDK before anything is installed there: where it would not be found, the one that
 * this vlinder came with is linked into the folder's `node_modules`. `npm install` puts a copy of the folder's own in its
 * place. Returns the link's path; null: the SDK is found without (in a project that has it, in a clone).
 */
export async function linkSdk(folder: string): Promise<string | null> {
  if (sdkSeenFrom(join(folder, "main.ts")) !== null) return null;
  const own = sdkSeenFrom(import.meta.filename);
  // It is a dependency of the daemon's. Where it is not there all the same, npm install is still a way.
  if (own === null) return null;
  const link = join(folder, "node_modules", SDK);
  await mkdir(dirname(link), { recursive: true });
  // A junction is what Windows lets everybody make; elsewhere it is a symbolic link.
  await symlink(await realpath(own), link, "junction");
  return link;
}

/** The folder of the SDK's package that a module at this path would import. */
function sdkSeenFrom(module: string): string | null {
  try {
    const found = findPackageJSON(SDK, pathToFileURL(module));
    return found === undefined ? null : dirname(found);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND") return null;
    throw error;
  }
}
