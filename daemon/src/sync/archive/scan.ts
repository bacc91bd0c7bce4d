import type { FileHandle } from "node:fs/promises";
import { type Hash, invalid, sha256, VlinderError } from "@vlinder/protocol";
import { HEAD_BYTES } from "../head.ts";
import { PACK_LIMITS, packRawLength } from "../pack.ts";
import { type ArchiveManifest, decodeArchiveManifest, sumsOf } from "./manifest.ts";
import { MANIFEST_FILE, packOfFile, README_FILE, SUMS_FILE } from "./names.ts";
import { BLOCK, paddingOf, parseTarHeader, type TarEntry } from "./tar.ts";

/** A pack in an archive. */
export interface ArchivedPack {
  readonly name: Hash;
  /** Of its bytes in the file. */
  readonly offset: number;
  readonly size: number;
}

export interface ScannedArchive {
  readonly manifest: ArchiveManifest;
  readonly packs: readonly ArchivedPack[];
  /** Bytes that the packs say they unpack to. */
  readonly raw: number;
}

const README_BYTES = 64 * 1024;
const SUMS_BYTES = 16 << 20;
const PACKS = 100_000;
/** Far more than memory compresses to, and so much that it could fill a disk: not what `export` writes. */
const BOMB_RATIO = 1000;
const BOMB_BYTES = 4 * 2 ** 30;

/**
 * Goes through an archive from header to header and reads nothing of the packs but theirs, so that what is no
 * archive, or not all of one, is refused before anything is done. Entries must be exactly those
 * that `export` writes, in its order. @throws invalid, saying which entry is wrong
 */
export async function scanArchive(file: FileHandle): Promise<ScannedArchive> {
  const { size: total } = await file.stat();
  const reader = new EntryReader(file, total);
  const readme = await reader.next(README_FILE, README_BYTES);
  if (readme.name !== README_FILE) throw unexpected(readme, README_FILE);
  const readmeBytes = await reader.contents(readme);
  const manifestEntry = await reader.next(MANIFEST_FILE, HEAD_BYTES);
  if (manifestEntry.name !== MANIFEST_FILE) throw unexpected(manifestEntry, MANIFEST_FILE);
  const manifestBytes = await reader.contents(manifestEntry);
  const manifest = decodeArchiveManifest(manifestBytes);

  const packs: ArchivedPack[] = [];
  const names = new Set<Hash>();
  let [raw, stored] = [0, 0];
  let entry = await reader.next("a pack", PACK_LIMITS.stored);
  for (let name = packOfFile(entry.name); name !== null; name = packOfFile(entry.name)) {
    if (names.has(name)) throw invalid(`the archive has pack ${name} twice`, { remedy: REMEDY });
    if (names.size === PACKS) throw invalid(`the archive has more than ${PACKS} packs`, { remedy: REMEDY });
    names.add(name);
    packs.push({ name, offset: entry.offset, size: entry.size });
    raw += packRawLength(await reader.start(entry));
    stored += entry.size;
    entry = await reader.next(SUMS_FILE, PACK_LIMITS.stored);
  }
  if (entry.name !== SUMS_FILE) throw unexpected(entry, SUMS_FILE);
  if (entry.size > SUMS_BYTES) throw invalid(`${SUMS_FILE} of ${entry.size} bytes`, { remedy: REMEDY });
  const sums = sumsOf({ readme: sha256(readmeBytes), manifest: sha256(manifestBytes), packs: [...names] });
  if (!(await reader.contents(entry)).equals(sums)) {
    throw invalid(`${SUMS_FILE} is not that of the files in the archive`, { remedy: REMEDY });
  }
  await reader.end();
  if (raw > BOMB_BYTES && raw > BOMB_RATIO * stored) {
    throw new VlinderError(
      "too_large",
      `the archive unpacks to ${raw} bytes, ${Math.floor(raw / stored)} times its size`,
      {
        remedy: "it was made to fill a disk: don't trust where it came from",
        details: { raw, stored },
      },
    );
  }
  return { manifest, packs, raw };
}

export const REMEDY = "get the file that `vlinder export` wrote again, whole and as it was";

interface PlacedEntry extends TarEntry {
  readonly offset: number;
}

class EntryReader {
  readonly #file: FileHandle;
  readonly #total: number;
  #at = 0;

  constructor(file: FileHandle, total: number) {
    this.#file = file;
    this.#total = total;
  }

  /** @param what should be here, for the error */
  async next(what: string, limit: number): Promise<PlacedEntry> {
    const header = await readAt(this.#file, this.#at, BLOCK);
    const entry = header.length < BLOCK ? null : parseTarHeader(header);
    if (entry === null) throw invalid(`the archive ends where ${what} should be`, { remedy: REMEDY });
    const offset = this.#at + BLOCK;
    if (entry.size > limit) {
      throw invalid(`the archive's ${JSON.stringify(entry.name)} has ${entry.size} bytes, over the limit of ${limit}`, {
        remedy: REMEDY,
      });
    }
    this.#at = offset + entry.size + paddingOf(entry.size);
    if (this.#at > this.#total) throw cutOff(entry);
    return { ...entry, offset };
  }

  async contents({ name, size, offset }: PlacedEntry): Promise<Buffer> {
    const bytes = await readAt(this.#file, offset, size);
    if (bytes.length < size) throw cutOff({ name, size });
    return bytes;
  }

  /** As much as a pack's header needs. */
  start({ size, offset }: PlacedEntry): Promise<Buffer> {
    return readAt(this.#file, offset, Math.min(size, BLOCK));
  }

  /** Two blocks of zeros, and nothing behind. A truncated copy lacks them. */
  async end(): Promise<void> {
    const rest = await readAt(this.#file, this.#at, 2 * BLOCK + 1);
    const zeros = rest.subarray(0, 2 * BLOCK);
    if (zeros.length < 2 * BLOCK || zeros.some((byte) => byte !== 0)) {
      throw invalid("the archive has no end: it is cut off, or something was added", { remedy: REMEDY });
    }
    if (rest.length > 2 * BLOCK) throw invalid("the archive goes on behind its end", { remedy: REMEDY });
  }
}

export async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

function unexpected({ name }: TarEntry, wanted: string): Error {
  return invalid(`the archive has ${JSON.stringify(name)} where ${wanted} should be`, { remedy: REMEDY });
}

function cutOff({ name }: TarEntry): Error {
  return invalid(`the archive is cut off in ${JSON.stringify(name)}`, { remedy: REMEDY });
}
