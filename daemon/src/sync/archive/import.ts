import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { type AgentName, type Hash, invalid, type Progress, sha256, VlinderError } from "@vlinder/protocol";
import type { Exchange, Integrated } from "../../state/api.ts";
import { systemCode } from "../buckets/file-error.ts";
import { ErasedAhead } from "../erasures.ts";
import { decodePack } from "../pack.ts";
import { packFile } from "./names.ts";
import { type ArchivedPack, readAt, REMEDY, scanArchive, type ScannedArchive } from "./scan.ts";

export interface Imported {
  readonly commits: number;
  readonly objects: number;
  /** Of packs. */
  readonly bytes: number;
  readonly branches: readonly Integrated[];
}

/** An archive that is open, and found to be whole in its form. */
export class Archive {
  readonly contents: ScannedArchive;
  readonly #file: FileHandle;
  readonly #path: string;

  private constructor(path: string, file: FileHandle, contents: ScannedArchive) {
    this.#path = path;
    this.#file = file;
    this.contents = contents;
  }

  /** @throws not_found, denied, invalid: not an archive, or not all of one; too_large: made to fill a disk */
  static async open(path: string): Promise<Archive> {
    const file = await openFile(path);
    try {
      return new Archive(path, file, await naming(path, () => scanArchive(file)));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get agent(): AgentName {
    return this.contents.manifest.agent;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /**
   * Takes all that is in the archive, as a pull takes packs: every object is checked before it is stored, and branches are moved
   * when all is here. One pack is held at a time. @throws invalid: then no branch was moved
   */
  async into(exchange: Exchange, progress: (progress: Progress) => void): Promise<Imported> {
    const { manifest, packs } = this.contents;
    const total = packs.reduce((sum, { size }) => sum + size, 0);
    const taken = { commits: 0, objects: 0, bytes: 0 };
    const ahead = new ErasedAhead(exchange);
    for (const [index, pack] of packs.entries()) {
      const objects = await naming(`${this.#path}: ${packFile(pack.name)}`, () => this.#objects(pack));
      const { commits } = await naming(`${this.#path}: ${packFile(pack.name)}`, () =>
        ahead.receive(objects, () => this.#objectsOf(packs.slice(index + 1))),
      );
      taken.commits += commits;
      taken.objects += objects.length;
      taken.bytes += pack.size;
      progress({ what: `importing ${manifest.agent}`, done: taken.bytes, total, unit: "bytes" });
    }
    const heads = manifest.branches.flatMap(({ head }) => head ?? []);
    const missing = await lacking(exchange, heads);
    if (missing !== null) {
      throw invalid(`${this.#path} names commit ${missing} as a branch's head, and no pack of it has that commit`, {
        remedy: REMEDY,
      });
    }
    return { ...taken, branches: await exchange.integrate(manifest.branches) };
  }

  async *#objectsOf(packs: readonly ArchivedPack[]): AsyncGenerator<Awaited<ReturnType<typeof decodePack>>> {
    for (const pack of packs) yield await naming(`${this.#path}: ${packFile(pack.name)}`, () => this.#objects(pack));
  }

  async #objects({ name, offset, size }: ArchivedPack): ReturnType<typeof decodePack> {
    const bytes = await readAt(this.#file, offset, size);
    if (sha256(bytes) !== name) throw invalid("its bytes are not what its name says");
    return decodePack(bytes);
  }
}

async function lacking(exchange: Exchange, heads: readonly Hash[]): Promise<Hash | null> {
  const here = await exchange.has(heads);
  return heads.find((_, index) => here[index] === false) ?? null;
}

/** A plain file only: nothing that blocks, or has no end. */
async function openFile(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCode(error);
    const details = { path, code: code ?? null };
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new VlinderError("not_found", `there is no file ${path}`, { remedy: "check the path", details });
    }
    throw new VlinderError("denied", `vlinderd can't read ${path}: ${String(code)}`, {
      remedy: "let the user that runs vlinderd read it",
      details,
    });
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw invalid(`${path} is no plain file`, { remedy: "name the tar that `vlinder export` wrote" });
}

async function naming<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    const { code, message, remedy, details, retryable } = error;
    throw new VlinderError(code, `${what}: ${message}`, {
      cause: error,
      details,
      retryable,
      remedy: remedy ?? REMEDY,
    });
  }
}
