import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { MemoryObjects } from "./backends/memory.ts";
import { openSqliteObjects } from "./backends/sqlite/sqlite-objects.ts";
import type { ObjectStorage } from "./object-storage.ts";

/** Where what collections drop is kept for a while: a storage of its own for each collection. */
export interface QuarantineShelf {
  /** Names of those that are there, oldest first: names are in the order of time. */
  list(): Promise<string[]>;
  /** Opens one, making it where there is none. */
  open(name: string): Promise<ObjectStorage>;
  /** Deletes one, closed, for good. */
  delete(name: string): Promise<void>;
}

/** Stays when it is closed: until it is deleted, or the process ends. */
class KeptObjects extends MemoryObjects {
  override async close(): Promise<void> {}
}

/** Quarantines of what lies in memory itself. */
export class MemoryShelf implements QuarantineShelf {
  readonly #storages = new Map<string, KeptObjects>();

  async list(): Promise<string[]> {
    return [...this.#storages.keys()].sort();
  }

  async open(name: string): Promise<ObjectStorage> {
    const storage = this.#storages.get(name) ?? new KeptObjects(`memory://quarantine-${name}`);
    this.#storages.set(name, storage);
    return storage;
  }

  async delete(name: string): Promise<void> {
    this.#storages.delete(name);
  }
}

const FILE = /^(\d{8}T\d{9}Z(?:-\d+)?)\.db$/;

/** A SQLite file for each, in a folder of their own. */
export class FileShelf implements QuarantineShelf {
  readonly #folder: string;
  readonly #durability: "disk" | "process";

  constructor(folder: string, durability: "disk" | "process") {
    this.#folder = folder;
    this.#durability = durability;
  }

  async list(): Promise<string[]> {
    try {
      const names = await readdir(this.#folder);
      return names.flatMap((name) => FILE.exec(name)?.[1] ?? []).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }

  async open(name: string): Promise<ObjectStorage> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    return openSqliteObjects({ path: this.#path(name), durability: this.#durability });
  }

  async delete(name: string): Promise<void> {
    for (const companion of ["-wal", "-shm", ""]) await rm(this.#path(name) + companion, { force: true });
  }

  #path(name: string): string {
    return join(this.#folder, `${name}.db`);
  }
}
