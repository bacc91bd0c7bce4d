import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { VlinderError } from "@vlinder/protocol";
import { z } from "zod";
import { writeFileAtomic } from "./atomic-file.ts";
import { type FileLock, lockFile } from "./file-lock.ts";
import type { Home } from "./home.ts";

const ownerFile = z.object({ pid: z.int().positive(), since: z.string(), host: z.string(), nonce: z.string() });

/**
 * Makes this process the home's only daemon.
 *
 * What decides is a lock of the operating system, on `run/home.lock`: it ends with the process however that ends, so there is no stale lock to judge or
 * to take over, no pid that may have been used again, and of two starters the kernel picks one, also
 * when they run in different containers on one folder.
 * `run/owner.json` beside it says who, for people, and decides nothing.
 *
 * @throws conflict, with the owner's pid, when another process (or this one) has the home
 */
export async function lockHome(home: Home): Promise<FileLock> {
  const ownerPath = join(home.run, "owner.json");
  const lock = lockOf(home);
  if (lock === null) throw await taken(home, ownerPath);
  try {
    const owner = { pid: process.pid, since: new Date().toISOString(), host: hostname() };
    await writeFileAtomic(ownerPath, `${JSON.stringify({ ...owner, nonce: randomBytes(8).toString("hex") })}\n`);
  } catch (error) {
    lock.release();
    throw error;
  }
  return lock;
}

function lockOf(home: Home): FileLock | null {
  const path = join(home.run, "home.lock");
  try {
    return lockFile(path);
  } catch (cause) {
    const isFull = /^(SQLITE_FULL|ENOSPC|EDQUOT)$/.test(String((cause as { readonly code?: unknown }).code));
    throw new VlinderError("unavailable", `${path} can't be locked: ${(cause as Error).message}`, {
      remedy: isFull
        ? `free space on the disk that holds ${home.path}, then start vlinderd again`
        : "the home must be a writable folder on a file system with locks",
      retryable: false,
      cause,
    });
  }
}

async function taken(home: Home, ownerPath: string): Promise<VlinderError> {
  const owner = await readOwner(ownerPath);
  const who = owner === null ? "another process" : `pid ${owner.pid} on ${owner.host}, since ${owner.since}`;
  return new VlinderError("conflict", `another vlinderd (${who}) has the home ${home.path}`, {
    remedy: "use that one, stop it with `vlinder stop`, or name another home in VLINDER_HOME",
    details: { home: home.path, pid: owner?.pid ?? null },
  });
}

/** Null when it can't be told: the new owner has not written it yet, and the last one's is still there. */
async function readOwner(path: string): Promise<z.output<typeof ownerFile> | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Only a hint for a person: a damaged one is as good as none.
    return null;
  }
  const owner = ownerFile.safeParse(json);
  if (!owner.success || (owner.data.host === hostname() && !isAlive(owner.data.pid))) return null;
  return owner.data;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
