import type { ErrorBody } from "@vlinder/protocol";
import type { IndexFile, IndexFileOptions } from "./index-file.ts";

/** What the worker does for an index: the methods of IndexFile, and opening it. */
export interface Operations {
  open: (options: IndexFileOptions) => void;
  add: IndexFile["add"];
  advance: IndexFile["advance"];
  remove: IndexFile["remove"];
  nearest: IndexFile["nearest"];
  count: IndexFile["count"];
  position: IndexFile["position"];
  close: IndexFile["close"];
}
export type Operation = keyof Operations;

export interface Request {
  readonly id: number;
  /** Which index; numbers are given by the asking thread. */
  readonly index: number;
  readonly operation: Operation;
  readonly args: readonly unknown[];
}

export type Reply = { readonly id: number } & (
  | { readonly value: unknown }
  | { readonly damaged: string }
  | { readonly error: ErrorBody }
);
