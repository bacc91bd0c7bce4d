import { randomUUID } from "node:crypto";
import { type FileHandle, link, lstat, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type AgentName,
  asVlinderError,
  type BranchName,
  decodeCommit,
  type Hash,
  invalid,
  type Progress,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Exchange, TheirBranch } from "../../state/api.ts";
import { TwoGenerations } from "../../state/two-generations.ts";
import type { Kind, StoredObject } from "../../storage/object-storage.ts";
import { publishedBranches, publishedCommits } from "../branches.ts";
import { systemCode } from "../buckets/file-error.ts";
import { outgoingHistory } from "../outgoing.ts";
import { PackWriter, type WrittenPack } from "../pack-writer.ts";
import { encodeArchiveManifest, sumsOf } from "./manifest.ts";
import { MANIFEST_FILE, packFile, README_FILE, README_TEXT, SUMS_FILE } from "./names.ts";
import { paddingOf, TAR_END, tarHeader } from "./tar.ts";

export interface ExportJob {
  readonly agent: AgentName;
  readonly exchange: Exchange;
  /** Absolute. */
  readonly path: string;
  /** Absent: all, deleted ones too. */
  readonly branch?: BranchName;
  /** Whether a file that is there may be replaced. */
  readonly overwrite: boolean;
  readonly progress: (progress: Progress) => void;
}

export interface Exported {
  readonly bytes: number;
  readonly packs: number;
  readonly commits: number;
  readonly objects: number;
  readonly branches: readonly { readonly name: string; readonly state: Hash }[];
}

/** Objects of which it is remembered that they are in the archive already; about 20 MB. */
const REMEMBERED = 100_000;

/**
 * Writes an agent with its history as one tar. The file is there whole, or not at all. Of the same
 * state it has the same bytes. @throws conflict: a file is there; not_found, denied, unavailable
 */
export async function exportArchive(job: ExportJob): Promise<Exported> {
  const { path, exchange, agent } = job;
  const branches = chosen(job);
  const commits = await publishedCommits(exchange, branches);
  const newest = await newestTime(exchange, commits);
  const temporary = join(dirname(path), `.${randomUUID()}.partial`);
  let made = false;
  try {
    await requireFree(job);
    const file = await open(temporary, "wx", 0o600);
    made = true;
    let written: { commits: number; objects: number };
    const tar = new TarFile(file, Math.floor(newest / 1000));
    try {
      const manifest = encodeArchiveManifest({ agent, branches });
      const readme = Buffer.from(README_TEXT, "utf8");
      await tar.add(README_FILE, readme);
      await tar.add(MANIFEST_FILE, manifest);
      const packs: Hash[] = [];
      written = await writePacks(job, commits, async (pack) => {
        await tar.add(packFile(pack.name), pack.bytes);
        packs.push(pack.name);
      });
      await tar.add(SUMS_FILE, sumsOf({ readme: sha256(readme), manifest: sha256(manifest), packs }));
      await tar.end();
    } finally {
      await file.close();
    }
    await publish(temporary, job);
    await syncFolder(dirname(path));
    const living = branches
      .flatMap(({ name, head }) => (head === null ? [] : [{ name, state: head }]))
      // They stand in the archive in the order of their ids, which is chance.
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return { ...written, bytes: tar.bytes, packs: tar.entries - 3, branches: living };
  } catch (error) {
    throw exportError(error, path);
  } finally {
    if (made) await rm(temporary, { force: true });
  }
}

/** Before all the work. @throws a system error, or invalid */
async function requireFree({ path, overwrite }: ExportJob): Promise<void> {
  const there = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  });
  if (there === null) return;
  if (!there.isFile()) throw invalid(`${path} is no plain file`, { remedy: "name a new file, like agent.tar" });
  if (!overwrite) throw taken(path);
}

/** A file that came meanwhile stays: `link` refuses a name that is taken. Not every file system has it. */
async function publish(temporary: string, { path, overwrite }: ExportJob): Promise<void> {
  if (!overwrite) {
    try {
      return await link(temporary, path);
    } catch (error) {
      const code = systemCode(error);
      if (code === "EEXIST") throw taken(path);
      if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS") throw error;
    }
  }
  await rename(temporary, path);
}

function taken(path: string): VlinderError {
  return new VlinderError("conflict", `there is a file ${path} already`, {
    remedy: "name another file, or replace it with --force",
    details: { path },
  });
}

function chosen({ exchange, branch, agent }: ExportJob): TheirBranch[] {
  const all = publishedBranches(exchange);
  if (branch === undefined) return all;
  const one = all.find(({ name, head }) => name === branch && head !== null);
  if (one !== undefined) return [one];
  throw new VlinderError("not_found", `agent ${agent} has no branch "${branch}"`, {
    remedy: `see vlinder branch list ${agent}`,
    details: { agent, branch },
  });
}

/** When the newest of these commits was made, in milliseconds: the archive says so, and not when it was written. */
async function newestTime(exchange: Exchange, commits: readonly Hash[]): Promise<number> {
  const found = await exchange.read("commit", commits);
  const times = found.flatMap((bytes) => (bytes === null ? [] : [decodeCommit(bytes).time ?? ""]));
  return Math.max(0, ...times.filter((time) => time !== "").map((time) => Date.parse(time)));
}

async function writePacks(
  { agent, exchange, progress }: ExportJob,
  heads: readonly Hash[],
  write: (pack: WrittenPack) => Promise<void>,
): Promise<{ commits: number; objects: number }> {
  const writer = new PackWriter();
  const total = { commits: 0, objects: 0 };
  const seen = new TwoGenerations<string, true>(REMEMBERED);
  // One that was forgotten stands in the archive twice, which a reader must allow.
  const isIn = (kind: Kind, hash: Hash): boolean => {
    if (seen.get(`${kind} ${hash}`) !== undefined) return true;
    seen.set(`${kind} ${hash}`, true);
    return false;
  };
  const done = async (pack: WrittenPack | null): Promise<void> => {
    if (pack === null) return;
    await write(pack);
    total.objects += pack.objects.length;
    progress({ what: `exporting ${agent}`, done: total.objects, total: null, unit: "objects" });
  };
  const add = async (object: StoredObject): Promise<void> => done(await writer.add(object));
  for (const head of heads) {
    for await (const object of exchange.treeObjects(head)) if (!isIn(object.kind, object.hash)) await add(object);
    await done(await writer.boundary());
  }
  for await (const item of outgoingHistory(exchange, exchange.newCommits(heads, []), isIn)) {
    if ("object" in item) {
      await add(item.object);
    } else {
      total.commits += item.end;
      await done(await writer.boundary());
    }
  }
  await done(await writer.finish());
  return total;
}

class TarFile {
  bytes = 0;
  entries = 0;
  readonly #file: FileHandle;
  readonly #seconds: number;

  constructor(file: FileHandle, seconds: number) {
    this.#file = file;
    this.#seconds = seconds;
  }

  async add(name: string, contents: Buffer): Promise<void> {
    const padding = Buffer.alloc(paddingOf(contents.length));
    await this.#write(tarHeader(name, contents.length, this.#seconds), contents, padding);
    this.entries++;
  }

  async end(): Promise<void> {
    await this.#write(TAR_END);
    await this.#file.sync();
  }

  async #write(...parts: Buffer[]): Promise<void> {
    for (const part of parts) {
      await this.#file.writeFile(part);
      this.bytes += part.length;
    }
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } catch (error) {
    const code = systemCode(error);
    if (code !== "EINVAL" && code !== "EPERM" && code !== "ENOTSUP") throw error;
  } finally {
    await folder.close();
  }
}

function exportError(error: unknown, path: string): VlinderError {
  if (error instanceof VlinderError) return error;
  const code = systemCode(error);
  const details = { path, code: code ?? null };
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return new VlinderError("not_found", `there is no folder ${dirname(path)}`, { remedy: "make it first", details });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new VlinderError("denied", `vlinderd may not write to ${dirname(path)}`, {
        remedy: "name a folder where it may",
        details,
      });
    case "ENOSPC":
    case "EDQUOT":
      return new VlinderError("unavailable", `the disk is full: ${path} was not written`, {
        remedy: "free space, or name a file on another disk",
        details,
      });
    default:
      return asVlinderError(error);
  }
}
