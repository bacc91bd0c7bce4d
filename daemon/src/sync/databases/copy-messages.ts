import type { CopiedDatabase } from "./database-copy.ts";

export interface CopyTask {
  readonly source: string;
  readonly target: string;
}

export type CopyAnswer =
  | { readonly done: number; readonly total: number }
  | { readonly copied: CopiedDatabase }
  | { readonly failed: { readonly code: string | null; readonly message: string } };
