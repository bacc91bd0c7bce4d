// It stores nothing: SQLite is the way to a lock of the operating system, which Node itself lacks.
// oxlint-disable-next-line no-restricted-imports
import Database from "better-sqlite3";

export interface FileLock {
  release(): void;
}

/** Keeps held locks from being collected as garbage, which would release them. */
const held = new Set<Database.Database>();

/**
 * An exclusive lock on a file, which is made when it is not there. It ends with the process, however
 * that ends. Null: somebody has it. Throws what SQLite throws when the file can't be locked at all.
 */
export function lockFile(path: string): FileLock | null {
  const database = new Database(path, { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if ((error as { code?: unknown }).code === "SQLITE_BUSY") return null;
    throw error;
  }
  held.add(database);
  return {
    release: () => {
      held.delete(database);
      database.close();
    },
  };
}
