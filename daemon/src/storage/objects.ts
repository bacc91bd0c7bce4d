import { invalid, VlinderError } from "@vlinder/protocol";
import { MemoryObjects } from "./backends/memory.ts";
import type { Durability } from "./backends/sqlite/connection.ts";
import { openSqliteObjects } from "./backends/sqlite/sqlite-objects.ts";
import { openSqliteReader } from "./backends/sqlite/object-reader.ts";
import type { ObjectReader, ObjectStorage, ReaderAddress } from "./object-storage.ts";

export interface ObjectStorageOptions {
  readonly scheme: string;
  /** `sqlite`: the file, absolute. */
  readonly path: string | null;
  /** For the backend; may hold a password. */
  readonly uri: string;
  /** For people and logs, without password; absent: `uri`. */
  readonly shown?: string;
  readonly durability: Durability;
  /** `[backends]` of config.toml: for a scheme, the package that serves it. */
  readonly backends?: Readonly<Record<string, string>>;
  /** Told of what went wrong in the background and lost nothing. */
  readonly warn?: (error: VlinderError) => void;
  /** Told in a sentence what opening does to a file of an older version. */
  readonly notice?: (message: string) => void;
}

/** What the package of a backend exports. */
export interface ObjectStorageBackend {
  openObjectStorage(uri: string, options: { readonly durability: Durability }): Promise<ObjectStorage>;
}

const BUILT_IN = ["sqlite", "memory"];

/**
 * Opens the object storage that a resolved URI names, making it where there is none. @throws invalid, unavailable
 */
export async function openObjectStorage(options: ObjectStorageOptions): Promise<ObjectStorage> {
  const { scheme, path, uri, shown = uri, durability, backends = {}, warn, notice } = options;
  if (scheme === "memory") return new MemoryObjects(uri);
  if (scheme === "sqlite" && path !== null) {
    return openSqliteObjects({ path, uri: shown, durability, ...(warn && { warn }), ...(notice && { notice }) });
  }
  const name = Object.hasOwn(backends, scheme) ? backends[scheme] : undefined;
  if (name !== undefined) return (await importBackend(scheme, name)).openObjectStorage(uri, { durability });
  const known = [...BUILT_IN, ...Object.keys(backends)].map((one) => `${one}://`).join(", ");
  throw invalid(`no object storage is known for ${shown}`, {
    remedy: `use one of ${known}; a package for another is a line in [backends] of config.toml`,
    details: { scheme },
  });
}

/** A connection of its own to objects that are open elsewhere in this process; it can't change anything. */
export function openObjectReader({ path }: ReaderAddress): ObjectReader & { close(): void } {
  return openSqliteReader(path);
}

async function importBackend(scheme: string, name: string): Promise<ObjectStorageBackend> {
  let backend: Partial<ObjectStorageBackend>;
  try {
    backend = (await import(name)) as Partial<ObjectStorageBackend>;
  } catch (cause) {
    throw new VlinderError("unavailable", `the package ${name}, which serves ${scheme}://, can't be loaded`, {
      remedy: `install it beside vlinder: npm install ${name}`,
      retryable: false,
      cause,
    });
  }
  if (typeof backend.openObjectStorage === "function") return backend as ObjectStorageBackend;
  throw invalid(`the package ${name} exports no openObjectStorage`, {
    remedy: `name a package that serves ${scheme}:// in [backends] of config.toml`,
  });
}
