import { statSync } from "node:fs";
import Database from "better-sqlite3";

/**
 * Looks into a database whose log was left by a killed process, before a connection that may write opens it: that
 * one would move the log into the file when it closes, also when all that it found was a newer release's
 * version, and such a file is to stay as it is. Without a log nothing is looked at. @throws what `look` throws
 */
export function lookBeforeLog(path: string, look: (db: Database.Database) => void): void {
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0) return;
  const db = new Database(path, { readonly: true, fileMustExist: true });
  try {
    look(db);
  } finally {
    db.close();
  }
}
