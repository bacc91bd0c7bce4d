import type { Manifest } from "./manifest.ts";

/**
 * What a manifest declares that this release records and does not serve yet, a sentence each: a
 * declaration that does nothing must say so.
 */
export function pendingNotes(manifest: Manifest): string[] {
  const notes: string[] = [];

  if (manifest.syncWhen !== null && manifest.syncWhen !== "manual") {
    notes.push("[sync] when is recorded; for now it is synced by `vlinder sync push` and `pull`");
  }
  return notes;
}
