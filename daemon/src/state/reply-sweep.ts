import { LIMITS } from "@vlinder/protocol";
import type { ObjectStorage } from "../storage/object-storage.ts";

/** How often, in milliseconds. */
const SWEEP = 60 * 60 * 1000;

/** Drops idempotency ids whose time is over, for as long as the process lives. Returns the way to stop it. */
export function sweepReplies(storage: ObjectStorage, now: () => Date): () => void {
  const sweep = async (): Promise<void> => {
    try {
      await storage.dropReplies(now().getTime() - LIMITS.replyMemory);
    } catch {
      // The storage is away; old ids cost only space, and the next sweep comes in an hour.
    }
  };
  const timer = setInterval(() => void sweep(), SWEEP).unref();
  return () => clearInterval(timer);
}
