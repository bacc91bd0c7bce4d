import { randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { type FileHandle, link, lstat, mkdir, open, opendir, realpath, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { sha256, VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketEntry, BucketFile, ByteRange } from "./bucket.ts";
import { bucketFileError, systemCode } from "./file-error.ts";
import { copyNew, haveSameBytes } from "./whole-file.ts";
import { bucketPathParts, checkBucketPrefix } from "./path.ts";

/** Unfinished files and locks; parts that start with a dot are never listed and never a path. */
const TEMP = ".tmp";
/** An unfinished file older than this has no writer any more. */
const STALE_TEMP = 24 * 60 * 60 * 1000;
const STALE_LOCK = 60_000;
/** What `link` says on file systems that have no hard links (exFAT on USB sticks, many network shares). */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EXDEV"]);

export interface FileBucketOptions {
  /** Makes the folder when its parent is there. Only `init` does. */
  readonly create?: boolean;
  /** For tests: a file system without hard links. */
  readonly link?: (from: string, to: string) => Promise<void>;
}

/**
 * A bucket in a folder: a shared drive, a USB stick, a folder that Syncthing carries.
 *
 * A file is written under `.tmp/`, fsynced, and then linked to its name: a link never overwrites, so of
 * two writers one loses, with the same bytes or an error. Without hard links a lock file stands
 * for that. The folder is never made again after `create`: a stick that was pulled out leaves an
 * empty mount point, and a bucket that starts there would look like a loss. So the folder must stay
 * the one (device and inode) that was opened. Symbolic links inside are not followed.
 */
export async function openFileBucket(uri: string, folder: string, options: FileBucketOptions = {}): Promise<Bucket> {
  try {
    if (options.create) await makeFolder(folder);
    const root = await realpath(folder);
    const found = await stat(root);
    if (!found.isDirectory()) throw Object.assign(new Error(`${root} is not a folder`), { code: "ENOTDIR" });
    const bucket = new FileBucket(uri, root, found, options.link ?? link);
    await bucket.dropStale();
    return bucket;
  } catch (error) {
    throw bucketFileError(error, "opening the folder", uri);
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}

interface NewFile {
  readonly write: (temp: string) => Promise<void>;
  readonly isSame: (target: string) => Promise<boolean>;
}

class FileBucket implements Bucket {
  readonly uri: string;
  readonly #root: string;
  readonly #identity: Stats;
  readonly #link: (from: string, to: string) => Promise<void>;

  constructor(uri: string, root: string, identity: Stats, linkFile: (from: string, to: string) => Promise<void>) {
    this.uri = uri;
    this.#root = root;
    this.#identity = identity;
    this.#link = linkFile;
  }

  async get(path: string, range?: ByteRange): Promise<Buffer | null> {
    const parts = bucketPathParts(path);
    return this.#doing(`reading ${path}`, async () => {
      const folder = await this.#folder(parts.slice(0, -1), false);
      return folder === null ? null : readFile(join(folder, parts.at(-1) as string), range);
    });
  }

  async put(files: readonly BucketFile[]): Promise<void> {
    const split = files.map(({ path }) => bucketPathParts(path));
    for (const [i, { path, bytes }] of files.entries()) await this.#put(path, split[i] as string[], bytes);
  }

  async #put(path: string, parts: readonly string[], bytes: Uint8Array): Promise<void> {
    await this.#make(path, parts, {
      write: (temp) => writeNew(temp, bytes),
      isSame: async (target) => (await readFile(target))?.equals(bytes) ?? false,
    });
  }

  async putFile(path: string, source: string): Promise<void> {
    await this.#make(path, bucketPathParts(path), {
      write: (temp) => copyNew(source, temp),
      isSame: (target) => haveSameBytes(source, target),
    });
  }

  async #make(path: string, parts: readonly string[], { write, isSame }: NewFile): Promise<void> {
    await this.#doing(`writing ${path}`, async () => {
      const folder = (await this.#folder(parts.slice(0, -1), true)) as string;
      const target = join(folder, parts.at(-1) as string);
      const temp = join(await this.#temp(), randomUUID());
      try {
        await write(temp);
        if (!(await this.#name(temp, target, path)) && !(await isSame(target))) throw this.#conflict(path);
      } finally {
        await removeFile(temp);
      }
      await syncFolder(folder);
    });
  }

  async *list(prefix: string): AsyncIterable<BucketEntry> {
    checkBucketPrefix(prefix);
    const parts = prefix.split("/").slice(0, -1);
    const folder = await this.#doing("listing", () => this.#folder(parts, false));
    if (folder === null) return;
    const above = parts.map((part) => `${part}/`).join("");
    for (const entry of await this.#doing("listing", () => walk(folder, above, prefix))) yield entry;
  }

  async sizes(paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const split = paths.map((path) => bucketPathParts(path));
    const sizes = new Map<string, number>();
    for (const [i, path] of paths.entries()) {
      const parts = split[i] as string[];
      await this.#doing(`looking for ${path}`, async () => {
        const folder = await this.#folder(parts.slice(0, -1), false);
        const found = folder === null ? null : await lstatOrNull(join(folder, parts.at(-1) as string));
        if (found?.isFile()) sizes.set(path, found.size);
      });
    }
    return sizes;
  }

  async delete(paths: readonly string[]): Promise<void> {
    const split = paths.map((path) => bucketPathParts(path));
    for (const [i, path] of paths.entries()) await this.#delete(path, split[i] as string[]);
  }

  /** A folder has none: nothing of it changes with what lies deeper. */
  async revision(): Promise<null> {
    return null;
  }

  async close(): Promise<void> {}

  async #delete(path: string, parts: readonly string[]): Promise<void> {
    await this.#doing(`deleting ${path}`, async () => {
      const folder = await this.#folder(parts.slice(0, -1), false);
      if (folder === null) return;
      await removeFile(join(folder, parts.at(-1) as string));
      await syncFolder(folder);
    });
  }

  /** Removes what writers left that were killed. */
  async dropStale(): Promise<void> {
    const folder = join(this.#root, TEMP);
    for (const entry of await walk(folder, "", "", true)) {
      const file = join(folder, entry.path);
      const found = await lstatOrNull(file);
      if (found !== null && Date.now() - found.mtimeMs > STALE_TEMP) await removeFile(file);
    }
  }

  async #doing<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw bucketFileError(error, what, this.uri);
    }
  }

  /** The folder of these parts, made when asked; null when it is not there. The bucket's own folder must be. */
  async #folder(parts: readonly string[], make: boolean): Promise<string | null> {
    const root = await stat(this.#root);
    if (root.dev !== this.#identity.dev || root.ino !== this.#identity.ino) {
      throw new VlinderError("unavailable", `the folder of the bucket ${this.uri} is not the one that was opened`, {
        remedy: "mount the drive again; then it goes on by itself",
        details: { bucket: this.uri },
      });
    }
    let folder = this.#root;
    for (const part of parts) {
      const above = folder;
      folder = join(folder, part);
      let found = await lstatOrNull(folder);
      if (found === null) {
        if (!make) return null;
        await makeFolder(folder);
        await syncFolder(above);
        found = await lstat(folder);
      }
      if (found.isSymbolicLink()) throw Object.assign(new Error(`${folder} is a symbolic link`), { code: "ELOOP" });
      if (!found.isDirectory()) throw Object.assign(new Error(`${folder} is not a folder`), { code: "ENOTDIR" });
    }
    return folder;
  }

  async #temp(): Promise<string> {
    const folder = join(this.#root, TEMP);
    await makeFolder(folder);
    if (!(await lstat(folder)).isDirectory()) throw Object.assign(new Error(`${folder} is a link`), { code: "ELOOP" });
    return folder;
  }

  #conflict(path: string): VlinderError {
    return new VlinderError("conflict", `the bucket ${this.uri} holds other bytes under ${path}`, {
      remedy: "nothing is overwritten; if that file is damaged, remove it and push again",
      details: { bucket: this.uri, path },
    });
  }

  /** Gives the temp file its name; false when the name is taken. */
  async #name(temp: string, target: string, path: string): Promise<boolean> {
    try {
      await this.#link(temp, target);
      return true;
    } catch (error) {
      const code = systemCode(error) ?? "";
      if (code === "EEXIST") return false;
      if (!NO_LINKS.has(code)) throw error;
      return this.#nameLocked(temp, target, path);
    }
  }

  async #nameLocked(temp: string, target: string, path: string): Promise<boolean> {
    const lock = join(this.#root, TEMP, `${sha256(path)}.lock`);
    for (let tries = 0; !(await createLock(lock)); tries++) {
      const found = await lstatOrNull(lock);
      if (found !== null && Date.now() - found.mtimeMs > STALE_LOCK) await removeFile(lock);
      else if (tries > 100) throw Object.assign(new Error(`${lock} is held`), { code: "EBUSY" });
      else await new Promise((resolve) => setTimeout(resolve, 20));
    }
    try {
      if ((await lstatOrNull(target)) !== null) return false;
      await rename(temp, target);
      return true;
    } finally {
      await removeFile(lock);
    }
  }
}

async function createLock(file: string): Promise<boolean> {
  try {
    await (await open(file, "wx", 0o600)).close();
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
}

async function lstatOrNull(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o644);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function readFile(path: string, range?: ByteRange): Promise<Buffer | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
  try {
    const found = await file.stat();
    if (!found.isFile()) return null;
    const start = range?.start ?? 0;
    const end = Math.min(range?.end ?? found.size, found.size);
    const bytes = Buffer.allocUnsafeSlow(Math.max(0, end - start));
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, start + length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.subarray(0, length);
  } finally {
    await file.close();
  }
}

/** Makes new and removed names in a folder durable; Windows has no such call and needs none. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Files below a folder; a folder that goes away meanwhile has none. Links and dot names are left out. */
async function walk(folder: string, above: string, prefix: string, dots = false): Promise<BucketEntry[]> {
  const entries: BucketEntry[] = [];
  let directory;
  try {
    directory = await opendir(folder);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return entries;
    throw error;
  }
  for await (const item of directory) {
    const path = above + item.name;
    if (item.name.startsWith(".") && !dots) continue;
    if (item.isDirectory() && (path.startsWith(prefix) || prefix.startsWith(`${path}/`))) {
      entries.push(...(await walk(join(folder, item.name), `${path}/`, prefix)));
    } else if (item.isFile() && path.startsWith(prefix)) {
      const found = await lstatOrNull(join(folder, item.name));
      if (found !== null) entries.push({ path, size: found.size });
    }
  }
  return entries;
}
