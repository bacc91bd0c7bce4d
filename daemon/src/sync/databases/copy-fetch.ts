import { randomUUID } from "node:crypto";
import { mkdir, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AgentName,
  asVlinderError,
  type FetchedCopy,
  invalid,
  parseAgentName,
  type Progress,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { systemCode } from "../buckets/file-error.ts";
import type { HeadTrust } from "../found-heads.ts";
import { type Retries, retrying } from "../retry.ts";
import type { Sealer } from "../vault/sealer.ts";
import type { VaultId } from "../vault/vault.ts";
import { downloadCopy } from "./copy-download.ts";
import { decodeManifest, type Manifest, MANIFEST_BYTES } from "./manifest.ts";
import { copyFolder, type ManifestName, parseManifestPath } from "./names.ts";

/** Stays free on the disk. */
const ROOM = 256 << 20;
/** Manifests that are tried, the newest first: there is one for each machine. */
const MOST = 50;

/** What a copy is fetched from, and who is believed. */
export interface FetchGround {
  readonly bucket: Bucket;
  readonly vault: VaultId;
  readonly sealer: Sealer | null;
  readonly trust: Pick<HeadTrust, "knows">;
  readonly retries: Retries;
  readonly signal: AbortSignal;
  readonly progress: (progress: Progress) => void;
}

interface Found extends ManifestName {
  readonly agent: AgentName;
  readonly path: string;
  /** Bytes, as they were listed. */
  readonly size: number;
}

/** The agents that have a copy in the bucket, and of each what may be one, the newest first. @param only this one alone */
export async function findCopies(
  { bucket, retries }: Pick<FetchGround, "bucket" | "retries">,
  only: AgentName | undefined,
): Promise<Map<AgentName, Found[]>> {
  return retrying(retries, async () => {
    const all = new Map<AgentName, Found[]>();
    for await (const { path, size } of bucket.list(only === undefined ? "agents/" : `agents/${only}/databases/`)) {
      const name = parseManifestPath(path);
      const agent = name === null ? null : agentOf(name.agent);
      if (name === null || agent === null) continue;
      const found = all.get(agent) ?? [];
      found.push({ ...name, agent, path, size });
      all.set(agent, found);
    }
    for (const found of all.values())
      found.sort((a, b) => (a.time > b.time || (a.time === b.time && a.path > b.path) ? -1 : 1));
    return all;
  });
}

function agentOf(text: string): AgentName | null {
  try {
    return parseAgentName(text);
  } catch (error) {
    if (error instanceof VlinderError) return null;
    throw error;
  }
}

/**
 * Brings an agent's newest copy that is good into `<folder>/<agent>/`, which must not be there: whole, with its databases opened, or not at all.
 * One that is not good is said, and the next one is tried.
 */
export async function fetchCopy(
  ground: FetchGround,
  agent: AgentName,
  found: readonly Found[],
  folder: string,
): Promise<FetchedCopy> {
  const nothing = { agent, device: null, time: null, files: [], notes: [] };
  const notes: string[] = [];
  try {
    await requireNew(join(folder, agent));
    for (const one of found.slice(0, MOST)) {
      try {
        return { ...(await fetchOne(ground, one, folder)), notes, error: null };
      } catch (thrown) {
        const error = asFetchError(thrown, folder);
        if (!["invalid", "denied", "not_found"].includes(error.code)) throw error;
        notes.push(`not taken: ${one.path}: ${error.message}${error.remedy === undefined ? "" : ` (${error.remedy})`}`);
      }
    }
    throw noCopy(agent, notes.length);
  } catch (thrown) {
    return { ...nothing, notes, error: asVlinderError(thrown).toBody() };
  }
}

async function fetchOne(
  ground: FetchGround,
  one: Found,
  folder: string,
): Promise<Omit<FetchedCopy, "notes" | "error">> {
  const { bucket, progress, retries, sealer } = ground;
  const { manifest, plain } = await readManifest(ground, one);
  const paths = manifest.files.map(({ name }) => copyFolder(one.agent, one.device) + name);
  await checkSizes(bucket, retries, manifest, paths);
  const total = manifest.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const unfinished = join(folder, `${one.agent}.unfinished-${randomUUID()}`);
  // One level: with `recursive`, Node looks for a parent for ever where none can be made (/proc).
  await mkdir(folder).catch((error: unknown) => {
    if (systemCode(error) !== "EEXIST") throw error;
  });
  await mkdir(unfinished, { mode: 0o700 });
  try {
    await checkRoom(folder, total);
    const target = join(folder, one.agent);
    const files: { path: string; bytes: number }[] = [];
    let before = 0;
    for (const [i, file] of manifest.files.entries()) {
      const name = `${file.database}.db`;
      const onBytes = (bytes: number): void =>
        progress({ what: `fetching ${one.agent}`, done: before + bytes, total, unit: "bytes" });
      const path = paths[i] as string;
      const bytes = await downloadCopy({ ...ground, path, file, target: join(unfinished, name), sealer, onBytes });
      before += file.bytes;
      files.push({ path: join(target, name), bytes });
    }
    await writeFile(join(unfinished, "copy.json"), plain, { flag: "wx", mode: 0o600 });
    await requireNew(target);
    await rename(unfinished, target);
    return { agent: one.agent, device: one.device, time: manifest.time, files };
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** What the disk did not do is no fault of ours, and not of the bucket. */
function asFetchError(error: unknown, folder: string): VlinderError {
  const code = error instanceof VlinderError ? undefined : systemCode(error);
  if (code === undefined) return asVlinderError(error);
  return new VlinderError("unavailable", `the copy can't be written in ${folder}: ${code}`, {
    remedy: "name a folder, in one that is there, that the daemon may write to, on a disk with room",
    details: { folder, code },
    cause: error,
    retryable: false,
  });
}

/** @throws invalid, denied: nothing is believed that no trusted machine has signed */
async function readManifest(ground: FetchGround, one: Found): Promise<{ manifest: Manifest; plain: Buffer }> {
  const { bucket, retries, sealer, trust, vault } = ground;
  if (one.isSealed !== (sealer !== null)) {
    throw invalid(
      sealer === null ? "it is encrypted, in a plain vault" : "it is not encrypted, in a vault where all are",
    );
  }
  if (one.size > MANIFEST_BYTES) throw invalid(`it has ${one.size} bytes, where ${MANIFEST_BYTES} are allowed`);
  const stored = await retrying(retries, () => bucket.get(one.path, { start: 0, end: MANIFEST_BYTES }));
  if (stored === null) throw new VlinderError("not_found", "it is not there any more", { remedy: "ask again" });
  if (!sha256(stored).startsWith(one.hash)) throw invalid("its bytes are not what its name says");
  const plain = sealer === null ? stored : await sealer.open(stored);
  const manifest = decodeManifest(plain, { ...one, vault });
  if (trust.knows(manifest.device, manifest.key)) return { manifest, plain };
  throw new VlinderError("denied", `it is signed by a machine that is not trusted here: ${manifest.device}`, {
    remedy: "a machine that is new becomes known with vlinder sync pull; see vlinder vault devices",
  });
}

async function checkSizes(bucket: Bucket, retries: Retries, { files }: Manifest, paths: string[]): Promise<void> {
  const sizes = await retrying(retries, () => bucket.sizes(paths));
  for (const [i, { bytes, name }] of files.entries()) {
    const found = sizes.get(paths[i] as string);
    if (found === bytes) continue;
    throw found === undefined
      ? new VlinderError("not_found", `${name} is not there`, {
          remedy: "a newer copy may have taken its place: ask again",
        })
      : invalid(`${name} has ${found} bytes, and its manifest says ${bytes}`);
  }
}

/** @throws conflict, unavailable */
async function requireNew(path: string): Promise<void> {
  const remedy = "nothing is overwritten: name another folder";
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw new VlinderError("unavailable", `${path} can't be used: ${error.code ?? ""}`, {
      remedy,
      cause: error,
      retryable: false,
    });
  });
  if (found !== null) throw new VlinderError("conflict", `${path} is there already`, { remedy, details: { path } });
}

async function checkRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= bytes + ROOM) return;
  throw new VlinderError(
    "unavailable",
    `the copy needs ${bytes} bytes in ${folder}, with ${ROOM} to spare, where ${free} are free`,
    {
      remedy: "name a folder on another disk",
      details: { folder, needed: bytes + ROOM, free },
      retryable: false,
    },
  );
}

function noCopy(agent: AgentName, refused: number): VlinderError {
  const what = refused === 0 ? "no copy" : "no good copy";
  return new VlinderError("not_found", `the bucket has ${what} of the databases of agent ${agent}`, {
    remedy: "vlinder sync databases makes one, on a machine that has the agent",
    details: { agent, refused },
  });
}
