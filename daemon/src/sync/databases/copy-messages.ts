import type { AgeStart } from "../vault/age-file.ts";
import type { CopiedDatabase } from "./database-copy.ts";

/** Counted in pages, and in bytes. */
export type CopyStep = "copying" | "encrypting";

/** To encrypt the copy for the members of a vault. */
export interface SealTask {
  readonly start: AgeStart;
  /** The encrypted file; the copy itself is removed when it is there. */
  readonly target: string;
}

export interface CopyTask {
  readonly source: string;
  readonly target: string;
  /** Null: the copy stays as it is. */
  readonly seal: SealTask | null;
}

export type CopyAnswer =
  | { readonly step: CopyStep; readonly done: number; readonly total: number }
  | { readonly copied: CopiedDatabase }
  | { readonly failed: { readonly code: string | null; readonly message: string } };
