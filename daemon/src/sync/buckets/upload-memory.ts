import type { Xorbs } from "./xet-shard.ts";

/** What one upload has told of the file as it is now in the bucket. */
export interface Sent {
  /** Those that the file is made of, sent now or before. */
  readonly xorbs: Xorbs;
  /** Stretches of xorbs that the file is made of: each is a request of who reads it. */
  readonly stretches: number;
  /** Bytes of content that went over the wire, before compression. */
  readonly bytes: number;
}

/**
 * What a service has of a file's earlier versions, kept by who uploads them: with it only what changed is sent. It is a memory
 * only: empty or lost, all is sent once.
 */
export interface UploadMemory {
  /** @param place the service and bucket: what another one has is of no use */
  recall(place: string): Promise<Xorbs>;
  keep(place: string, sent: Sent): Promise<void>;
  /** What it holds is not true any more. */
  drop(): Promise<void>;
}
