import type { DatabasesMode } from "@vlinder/protocol";
import type { DatabaseFile } from "./copy-job.ts";

/** What there is to copy of an agent, and when. */
export interface DatabaseSource {
  /** Null: what suits the kind of bucket. */
  readonly mode: DatabasesMode | null;
  /** Empty: its storage is in no SQLite file. */
  readonly files: readonly DatabaseFile[];
}

const DAY = 24 * 3_600_000;
/** After a copy failed, in milliseconds. */
const AGAIN = { daily: 3_600_000, turn: 60_000 };

/** Hugging Face sends only what changed, and people look there; elsewhere a copy is sent whole. */
export function databasesMode(mode: DatabasesMode | null, uri: string, isEncrypted: boolean): DatabasesMode {
  return mode ?? (uri.startsWith("hf:") && !isEncrypted ? "daily" : "off");
}

/** What is remembered of an agent's copies. Times are ISO 8601. */
export interface CopyFacts {
  /** The copy that is in the bucket. */
  readonly copied: { readonly time: string; readonly heads: string; readonly files: readonly string[] } | null;
  readonly failed: { readonly time: string; readonly message: string; readonly remedy: string | null } | null;
  /** How often values were erased since the copy was begun: it holds them. */
  readonly erased: number;
}

/** From when on a copy may be made, in milliseconds since 1970. */
export function dueAt(mode: "daily" | "turn", { copied, failed, erased }: CopyFacts): number {
  const after = (time: string | undefined, wait: number): number => (time === undefined ? 0 : Date.parse(time) + wait);
  const regular = mode === "turn" || erased > 0 ? 0 : after(copied?.time, DAY);
  return Math.max(regular, after(failed?.time, AGAIN[mode]));
}
