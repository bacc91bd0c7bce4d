import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { VlinderError } from "@vlinder/protocol";
import type { OpenSpec } from "./agent.ts";
import { type Registration, registrationFile } from "./registration.ts";
import { type ResolvedUri, withoutPassword } from "./storage-uri.ts";

/** Makes the folders that storage files are to lie in; not those outside of the home. */
export async function makeFolders({ objects, vectors, folder }: OpenSpec): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const uri of [objects, vectors]) {
    if (uri === null || uri.path === null) continue;
    if (uri.uri === `sqlite://${uri.path}`) await requireFolder(dirname(uri.path));
    else await mkdir(dirname(uri.path), { recursive: true, mode: 0o700 });
  }
}

/** A disk that is not mounted must not look like an empty one. */
async function requireFolder(path: string): Promise<void> {
  if (await exists(path)) return;
  throw new VlinderError("unavailable", `the folder ${path} is not there`, {
    remedy: "make it, or mount the disk that it is on",
    details: { path },
    retryable: false,
  });
}

/** An agent that was registered has a file; making an empty one in its place would look like a loss. */
export async function requireFile(name: string, objects: ResolvedUri): Promise<void> {
  if (objects.path === null || (await exists(objects.path))) return;
  throw new VlinderError("unavailable", `the storage of agent "${name}" is gone: there is no ${objects.path}`, {
    remedy: `bring the file back; or \`vlinder agent remove ${name} --purge\`, and add it anew`,
    details: { agent: name, path: objects.path },
    retryable: false,
  });
}

/** Deletes all that is in an agent's folder but its registration. May be called again after a crash. */
export async function purgeFolder(folder: string): Promise<void> {
  const keep = registrationFile(folder);
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (path !== keep) await rm(path, { recursive: true, force: true });
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw error;
  }
}

/** Storage that is not in the agent's folder: nothing of it is ever deleted here. */
export function outsideOf({ objects, vectors }: Registration): string[] {
  return [objects, vectors]
    .filter((uri) => uri !== null)
    .filter((uri) => isOutside(uri))
    .map(withoutPassword);
}

function isOutside(uri: string): boolean {
  return uri.startsWith("sqlite://") ? isAbsolute(uri.slice("sqlite://".length)) : !uri.startsWith("memory://");
}
