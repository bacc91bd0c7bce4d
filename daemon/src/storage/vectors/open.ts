import { open, rename, rm } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { invalid, LIMITS, type Metric } from "@vlinder/protocol";
import { IndexDamaged, type VectorStorage } from "../vector-storage.ts";
import { INDEX_MARK } from "./index-schema.ts";
import { MemoryVectorStorage } from "./memory.ts";
import { SqliteVectorStorage } from "./sqlite.ts";

/** A SQLite file's header, and where its application id is in it. */
const HEADER = 100;
const MARK_AT = 68;

export interface VectorShape {
  readonly dimension: number;
  readonly metric: Metric;
}

/**
 * Opens the vector storage that a resolved URI names (`memory://name`, `sqlite:///absolute/path`),
 * empty when there is none yet. @throws IndexDamaged, VlinderError invalid or unavailable
 */
export async function openVectorStorage(uri: string, shape: VectorShape): Promise<VectorStorage> {
  const { dimension, metric } = shape;
  if (!Number.isSafeInteger(dimension) || dimension < 1 || dimension > LIMITS.dimension) {
    throw invalid(`a dimension of ${dimension}`, { remedy: `a vector has 1 to ${LIMITS.dimension} components` });
  }
  const place = placeOf(uri);
  if (place.path === null) return new MemoryVectorStorage(uri, dimension, metric);
  // Before SQLite touches it: opening alone would change somebody else's database.
  if (!(await isIndex(place.path))) throw new IndexDamaged("it is no index");
  return SqliteVectorStorage.open({ uri, path: place.path, dimension, metric });
}

/**
 * Clears away what `openVectorStorage` would open, which must be closed; nothing there is no error. An
 * index is deleted. What does not look like one may be somebody's, and is set aside as `<path>.set-aside-<time>`.
 */
export async function resetVectorStorage(uri: string): Promise<void> {
  const { path } = placeOf(uri);
  if (path === null) return;
  if (!(await isIndex(path))) await rename(path, `${path}.set-aside-${Date.now()}`);
  // The log goes first: beside a new file, an old one would be taken for its own.
  for (const suffix of ["-wal", "-shm", "-journal", ""]) await rm(path + suffix, { force: true });
}

/** Whether a file has the mark of an index, or is none or empty. */
async function isIndex(path: string): Promise<boolean> {
  let bytes: Buffer;
  try {
    const file = await open(path);
    try {
      bytes = (await file.read(Buffer.alloc(HEADER), 0, HEADER, 0)).buffer;
      if ((await file.stat()).size === 0) return true;
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
  return bytes.readUInt32BE(MARK_AT) === INDEX_MARK;
}

/** The file of a URI; null for memory. */
function placeOf(uri: string): { readonly path: string | null } {
  if (uri.startsWith("memory://")) return { path: null };
  if (!uri.startsWith("sqlite://")) {
    throw invalid(`no vector storage is known for ${JSON.stringify(uri.slice(0, 200))}`, {
      remedy: "use sqlite:// or memory:// for vector_storage in agent.toml",
    });
  }
  const path = uri.slice("sqlite://".length);
  if (isAbsolute(path) && !path.includes("\0")) return { path };
  throw invalid(`the path of ${JSON.stringify(uri.slice(0, 200))} is not absolute`, {
    remedy: "resolve it against the agent's folder first",
  });
}
