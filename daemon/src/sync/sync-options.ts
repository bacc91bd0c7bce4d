import type { AgentName, DeviceId, Progress } from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import type { Bucket } from "./buckets/bucket.ts";
import type { OpenBucketOptions } from "./buckets/open.ts";
import type { DatabaseSource } from "./databases/settings.ts";
import type { PackPolicy } from "./packs/keeper.ts";
import type { Retries } from "./retry.ts";

export interface SyncAgent {
  readonly name: AgentName;
  readonly exchange: Exchange;
}

/** What sync needs of the registry. */
export interface SyncAgents {
  /** Those that are open here. */
  list(): Promise<readonly SyncAgent[]>;
  /** Makes an agent that came from a bucket: no folder, no history yet. */
  adopt(name: AgentName): Promise<Exchange>;
  /** Whether it was removed here: then a pull does not bring it back. */
  isRemoved(name: AgentName): boolean;
}

/** The part of pino's logger that is used. */
export interface SyncLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

export interface SyncOptions {
  /** $VLINDER_HOME. */
  readonly home: string;
  readonly device: DeviceId;
  /** Makes and keeps a new id: this home's was found to be used by another machine too. */
  readonly newDeviceId: () => Promise<DeviceId>;
  readonly agents: SyncAgents;
  readonly log: SyncLog;
  /** An agent's database files, and when they are copied to the bucket. Default: nothing is copied. */
  readonly databases?: (agent: AgentName) => DatabaseSource;
  readonly now?: () => Date;
  readonly retries?: Retries;
  readonly packs?: Partial<PackPolicy>;
  /** The bucket of a home that has none yet: it is joined when it is first asked for. */
  readonly bucket?: string | null;
  /** Called when a bucket has been joined, or another one. */
  readonly joined?: () => void;
  /** For tests: a bucket with faults. */
  readonly openBucket?: (uri: string, options?: OpenBucketOptions) => Promise<Bucket>;
}

export type OnProgress = (progress: Progress) => void;
