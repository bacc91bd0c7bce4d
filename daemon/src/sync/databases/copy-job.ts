import { mkdir, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type AgentName, type Progress, sha256, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { type Retries, retrying } from "../retry.ts";
import type { Device } from "../vault/device.ts";
import type { Sealer } from "../vault/sealer.ts";
import type { VaultId } from "../vault/vault.ts";
import { copying } from "./copying.ts";
import type { CopiedDatabase } from "./database-copy.ts";
import { type CopyFile, encodeManifest } from "./manifest.ts";
import { copyFolder, copyName, type DatabaseName, isCopyName } from "./names.ts";
import { SentMap } from "./sent-map.ts";

/** Stays free on the home's disk beside a copy: what agents write meanwhile must not fail. */
const ROOM = 256 << 20;

export interface DatabaseFile {
  readonly name: DatabaseName;
  /** The SQLite file, absolute. */
  readonly path: string;
}

export interface CopyJob {
  readonly agent: AgentName;
  readonly databases: readonly DatabaseFile[];
  readonly bucket: Bucket;
  readonly vault: VaultId;
  /** Signs what the copy is. */
  readonly device: Device;
  /** A folder of this home for unfinished copies, which nothing else uses, and for what was sent. */
  readonly folder: string;
  /** Paths in the bucket of the copies that this home made before, also under another device's id. */
  readonly before: readonly string[];
  /** Null: copies go as they are. */
  readonly sealer: Sealer | null;
  readonly now: () => Date;
  readonly retries: Retries;
  readonly signal: AbortSignal;
  readonly progress: (progress: Progress) => void;
}

export interface Copy {
  readonly time: string;
  /** Paths in the bucket, the manifest last. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** Why the copy before it is still there; null: it is not. */
  readonly left: string | null;
}

interface Made {
  readonly file: CopyFile;
  /** Its bytes, in this home. */
  readonly source: string;
  readonly copied: CopiedDatabase;
}

/**
 * Puts a consistent copy of an agent's databases into the bucket and removes the one before. Each step leaves a whole copy
 * there: the new files have new names, the manifest that names them is written when they are all there, and what it replaces
 * is deleted after that. @throws VlinderError
 */
export async function copyDatabases(job: CopyJob): Promise<Copy> {
  const unfinished = join(job.folder, "unfinished");
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true, mode: 0o700 });
  try {
    await checkRoom(job);
    const time = job.now();
    const made: Made[] = [];
    for (const database of job.databases) made.push(await makeCopy(job, database, time, unfinished));
    const folder = copyFolder(job.agent, job.device.id);
    for (const one of made) await putFile(job, folder + one.file.name, one);
    const manifest = await putManifest(job, made, time);
    const files = [...made.map(({ file }) => ({ path: folder + file.name, bytes: file.bytes })), manifest];
    return { time: time.toISOString(), files, left: await deleteOlder(job, new Set(files.map(({ path }) => path))) };
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** @throws unavailable */
async function checkRoom({ databases, folder, sealer }: CopyJob): Promise<void> {
  let needed = 0;
  for (const { path } of databases) {
    for (const file of [path, `${path}-wal`]) {
      needed += (await stat(file).catch(() => null))?.size ?? 0;
    }
  }
  // A copy and its encrypted form lie there together.
  if (sealer !== null) needed *= 2;
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= needed + ROOM) return;
  const [free, asked] = [bavail * bsize, needed + ROOM].map((bytes) => Math.round(bytes / 1e6));
  throw new VlinderError(
    "unavailable",
    `copies of the databases need ${asked} MB in ${folder}, where ${free} MB are free`,
    {
      remedy: 'make room on the home\'s disk, or set [sync] databases = "off"',
      details: { folder, needed: needed + ROOM, free: bavail * bsize },
    },
  );
}

async function makeCopy(job: CopyJob, { name, path }: DatabaseFile, time: Date, unfinished: string): Promise<Made> {
  const target = join(unfinished, `${name}.db`);
  const seal = job.sealer === null ? null : { start: await job.sealer.start(), target: `${target}.age` };
  const copied = await copying({ source: path, target, seal }, job.signal, (step, done, total) =>
    job.progress({ what: `${step} ${name}`, done, total, unit: step === "copying" ? "objects" : "bytes" }),
  );
  if (copied.damage !== null) {
    throw new VlinderError("unavailable", `the copy of ${path} is damaged: ${copied.damage}`, {
      remedy: "the copy in the bucket stays as it is; run `vlinder verify`",
      details: { path, found: copied.damage },
      retryable: false,
    });
  }
  const { bytes, sha256: hash } = copied;
  const file = { bytes, database: name, name: copyName(name, time, hash, seal !== null), sha256: hash };
  return { file, source: seal?.target ?? target, copied };
}

async function putFile(job: CopyJob, path: string, { file, source }: Made): Promise<void> {
  const { bucket, folder, progress, retries, sealer, signal } = job;
  const { bytes, database } = file;
  const sent = new SentMap(join(folder, `${database}.sent`));
  progress({ what: `sending ${path}`, done: 0, total: bytes, unit: "bytes" });
  await retrying(retries, async () => {
    signal.throwIfAborted();
    // What is encrypted has nothing in common with the copy before.
    await bucket.putFile(path, source, sealer === null ? sent : undefined);
    await checkThere(bucket, path, bytes);
  });
  progress({ what: `sending ${path}`, done: bytes, total: bytes, unit: "bytes" });
}

async function checkThere(bucket: Bucket, path: string, bytes: number): Promise<void> {
  if ((await bucket.sizes([path])).get(path) === bytes) return;
  throw new VlinderError("unavailable", `${path} was written to ${bucket.uri} and is not there`, {
    remedy: "it is tried again; if it stays so, the bucket does not keep what is written to it",
    details: { bucket: bucket.uri, path },
  });
}

async function putManifest(job: CopyJob, made: readonly Made[], time: Date): Promise<{ path: string; bytes: number }> {
  const { agent, bucket, device, retries, sealer, signal, vault } = job;
  const files = made.map(({ file }) => file);
  const branches = made.flatMap(({ copied }) => copied.branches ?? []);
  const plain = encodeManifest({ agent, branches, files, time: time.toISOString(), vault }, device);
  const bytes = sealer === null ? plain : await sealer.seal(plain);
  const path = copyFolder(agent, device.id) + copyName("copy", time, sha256(bytes), sealer !== null);
  await retrying(retries, async () => {
    signal.throwIfAborted();
    await bucket.put([{ path, bytes }]);
    await checkThere(bucket, path, bytes.length);
  });
  return { path, bytes: bytes.length };
}

/** @returns why they are still there: no reason to make another copy, and the next one tries again */
async function deleteOlder(
  { agent, before, bucket, device, retries }: CopyJob,
  keep: ReadonlySet<string>,
): Promise<string | null> {
  const folder = copyFolder(agent, device.id);
  const old = new Set(before.filter((path) => !keep.has(path)));
  try {
    await retrying(retries, async () => {
      for await (const { path } of bucket.list(folder)) {
        if (!keep.has(path) && isCopyName(path.slice(folder.length))) old.add(path);
      }
      if (old.size > 0) await bucket.delete([...old]);
    });
    return null;
  } catch (error) {
    if (error instanceof VlinderError) return error.message;
    throw error;
  }
}
