import type { SyncWhen } from "@vlinder/protocol";

/** `[sync]` of config.toml; times in milliseconds. */
export interface SyncSettings {
  /** Of agents whose agent.toml does not say. */
  readonly when: SyncWhen;
  /** Between two rounds of the agents with "interval". */
  readonly interval: number;
  /** Without a write, before what was written outside of turns is pushed. */
  readonly quiet: number;
  /** How long a turn waits for its pull. */
  readonly pullBudget: number;
  /** Between the beginnings of two pushes; null: what suits the kind of bucket. */
  readonly pushDistance: number | null;
  /** How long a stop waits for the last push. */
  readonly stopPush: number;
}

/**
 * Of a service that counts requests. A push is about 15 of them, a pull before a turn one, and a Hub takes 1,000 in
 * 5 minutes: pushes at this distance use less than half.
 */
const SERVICE_DISTANCE = 10_000;

export function pushDistanceOf({ pushDistance }: SyncSettings, uri: string): number {
  return pushDistance ?? (uri.startsWith("file:") ? 0 : SERVICE_DISTANCE);
}
