import type { AgentName, DeviceId, Hash } from "@vlinder/protocol";
import type { Exchange } from "../../state/api.ts";
import type { Bucket } from "../buckets/bucket.ts";
import type { Device } from "../vault/device.ts";
import type { HeadTrust } from "../found-heads.ts";
import type { Retries } from "../retry.ts";
import type { SyncState } from "../sync-state.ts";
import type { Sealer } from "../vault/sealer.ts";
import type { VaultId } from "../vault/vault.ts";
import { MERGE_OVER } from "./merge-policy.ts";

/** When packs are merged, and what is replaced deleted. */
export interface PackPolicy {
  /** How many packs that are not full there may be. */
  readonly over: number;
  /** How long a replaced pack is kept for machines that are away, in milliseconds. */
  readonly grace: number;
}

export const DEFAULT_POLICY: PackPolicy = { over: MERGE_OVER, grace: 7 * 24 * 3_600_000 };

/** What work on the packs of one agent in a bucket needs. */
export interface PackJob {
  readonly agent: AgentName;
  readonly exchange: Exchange;
  readonly bucket: Bucket;
  readonly vault: VaultId;
  readonly state: SyncState;
  /** Null: a plain vault. */
  readonly sealer: Sealer | null;
  readonly trust: HeadTrust;
  readonly device: () => Device;
  readonly now: () => Date;
  readonly retries: Retries;
  readonly policy: PackPolicy;
  /** Devices whose heads nobody waits for any more. */
  readonly isRetired: (device: DeviceId) => boolean;
  /** Heads of branches, and commits of tombstones, as a push publishes them. */
  readonly commits: () => Promise<readonly Hash[]>;
  /** Told the bytes of packs that were gone through so far. */
  readonly progress: (bytes: number) => void;
}
