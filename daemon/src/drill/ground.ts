import { cp, mkdir, readdir, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type AgentName, VlinderError } from "@vlinder/protocol";
import { openBucket } from "../sync/buckets/open.ts";
import { listBucket, packBytes } from "../sync/listing.ts";
import { pinnedVault } from "../sync/vault/vault.ts";

/** What is not taken along from a home's `sync/`: it is this machine's alone. */
const OWN: ReadonlySet<string> = new Set(["bucket.json", "drill.json"]);
/** Of an encrypted vault it is needed to read: the restored home has an id and a key of its own, and reads as who it was. */
const KEY = "device-key";
/** Packs are compressed, and a database has indexes and a log besides: so many times their bytes are asked for. */
const GROWS = 2;
const SPARE = 64 << 20;

/** The folder that is to be kept must be new or empty. @throws conflict, unavailable */
export async function checkKeep(keep: string | undefined): Promise<void> {
  if (keep === undefined) return;
  const remedy = "name a folder that is not there yet, in one that is";
  try {
    if ((await readdir(keep)).length === 0) return;
    throw new VlinderError("conflict", `${keep} is not empty`, { remedy, details: { path: keep } });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return;
    if (cause instanceof VlinderError) throw cause;
    throw new VlinderError("conflict", `${keep} can't hold the restored home: ${(cause as Error).message}`, {
      remedy,
      details: { path: keep },
      cause,
    });
  }
}

/**
 * Before anything is fetched: a disk that a drill fills would stop the agents.
 * @param sizes bytes that the agents take here
 * @throws unavailable; what listing the bucket throws
 */
export async function requireSpace(plan: {
  readonly bucket: string;
  readonly agent: AgentName | undefined;
  /** On the disk that is used. */
  readonly folder: string;
  readonly sizes: number;
}): Promise<void> {
  const { bucket: uri, agent, folder, sizes } = plan;
  const bucket = await openBucket(uri);
  let packs = 0;
  try {
    const listing = await listBucket(bucket, agent);
    for (const name of listing.agents) packs += packBytes(listing.of(name));
  } finally {
    await bucket.close();
  }
  const needed = Math.max(packs * GROWS, sizes) + SPARE;
  const { bavail, bsize } = await statfs(await existing(folder));
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new VlinderError(
    "unavailable",
    `a drill needs about ${needed} bytes, and the disk of ${folder} has ${free} free`,
    {
      remedy:
        "free some space, drill one agent at a time, or name a folder on another disk: vlinder sync drill --keep DIR",
      details: { needed, free, folder },
      retryable: false,
    },
  );
}

async function existing(folder: string): Promise<string> {
  try {
    await statfs(folder);
    return folder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(folder) === folder) throw error;
    return await existing(dirname(folder));
  }
}

/**
 * Makes the home to restore into, with what this one has pinned, so that another vault or another key of a known device is refused
 * there, too; and with nothing of its agents.
 */
export async function seedHome(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 });
  const isEncrypted = ((await pinnedVault(from))?.founder ?? null) !== null;
  const isTaken = (name: string): boolean => !OWN.has(name) && (name !== KEY || isEncrypted);
  await cp(join(from, "sync"), join(to, "sync"), {
    recursive: true,
    filter: (source) => dirname(source) !== join(from, "sync") || isTaken(basename(source)),
  });
}
