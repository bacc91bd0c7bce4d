import type { Sizes } from "../sizes.ts";

/** A database of one agent that nobody has open. */
export interface StateFile {
  readonly agent: string;
  readonly path: string;
  readonly keys: number;
}

/** Where states are made. */
export interface Place {
  readonly sizes: Sizes;
  /** A new folder that is gone at the end. */
  folder(): Promise<string>;
  progress(line: string): void;
}
