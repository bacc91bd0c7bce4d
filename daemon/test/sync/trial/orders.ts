import type { DeviceId, Hash } from "@vlinder/protocol";

/** What a machine of a trial is: in the arguments of its process. */
export interface MachineSpec {
  readonly home: string;
  readonly uri: string;
  /** Which faults come and what is written follows from it. */
  readonly seed: number;
  /** Its place among the machines, from 0. */
  readonly index: number;
  readonly policy: { readonly over: number; readonly grace: number };
}

/** How a bucket misbehaves during one push or pull. */
export interface Faults {
  readonly seed: number;
  /** Of a thousand calls so many go wrong. */
  readonly rate: number;
  /** The process kills itself at this step (a call of the bucket or a transaction of the state), counted from 1; 0: not. */
  readonly killAt: number;
}

/** One line to a machine. `now` is what its clock says from then on, in milliseconds. */
export type Order = { readonly id: number; readonly now: number } & (
  | { readonly what: "init"; readonly encrypt: boolean; readonly key: string | null }
  | { readonly what: "found" }
  | { readonly what: "work"; readonly seed: number; readonly count: number }
  | { readonly what: "push" | "pull"; readonly faults: Faults | null }
  | { readonly what: "heads" }
  | { readonly what: "report" }
  | { readonly what: "drill" }
  | { readonly what: "missing"; readonly commits: readonly Hash[] }
);

/** An order without what each has. */
export type Asked = Order extends infer One ? (One extends Order ? Omit<One, "id" | "now"> : never) : never;

/** How a machine stands at the end. */
export interface Report {
  readonly device: DeviceId;
  /** Id, commit, tombstones and seal of every branch, as one text. */
  readonly heads: string;
  readonly branches: number;
  readonly commits: number;
  readonly damage: readonly unknown[];
}

/** What `vlinder sync drill` found: what was restored from the bucket alone is what the machine has, and intact. */
export interface Drilled {
  readonly ok: boolean;
  /** What was not as it should be, or all of it. */
  readonly found: unknown;
}

/** What became of a push or pull; `error` is why it, or one agent's part of it, failed. */
export interface Synced {
  readonly error: string | null;
  readonly code: string | null;
  readonly steps: number;
  /** How often which fault was injected. */
  readonly fired: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** One line from a machine. */
export type Told =
  | { readonly ready: true }
  /** A write is durable: its commit must be in the history of every machine at the end. */
  | { readonly acknowledged: Hash; readonly kind: string }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failed: string };
