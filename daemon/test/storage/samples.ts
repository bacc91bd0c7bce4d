import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hash } from "@vlinder/protocol";
import { onTestFinished } from "vitest";
import { openSqliteObjects, type SqliteOptions } from "../../src/storage/backends/sqlite/sqlite-objects.ts";
import type { ObjectStorage, StoredObject, Transaction } from "../../src/storage/object-storage.ts";

export const hashOf = (bytes: Uint8Array | string): Hash => createHash("sha256").update(bytes).digest("hex") as Hash;

/** A value of some size that differs from every other one's. */
export function value(name: string | number, size = 0): StoredObject {
  const bytes = Buffer.from(`value ${name} `.padEnd(size, "."));
  return { kind: "value", hash: hashOf(bytes), bytes };
}

export const objects = (...list: StoredObject[]): Transaction => ({ objects: list, branches: [], replies: [] });

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-storage-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Closed at the end of the test, if not before. */
export async function openSqlite(path: string, options: Partial<SqliteOptions> = {}): Promise<ObjectStorage> {
  const storage = await openSqliteObjects({ path, durability: "process", ...options });
  onTestFinished(() => storage.close());
  return storage;
}

export async function has(storage: ObjectStorage, object: StoredObject): Promise<boolean> {
  const [bytes] = await storage.read(object.kind, [object.hash]);
  return bytes instanceof Uint8Array && Buffer.compare(bytes, object.bytes) === 0;
}

/** What the attempt was refused with. */
export async function refusal(attempt: Promise<unknown>): Promise<unknown> {
  return attempt.then(
    () => new Error("it was not refused"),
    (reason: unknown) => reason,
  );
}
