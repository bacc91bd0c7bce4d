import { createHash } from "node:crypto";
import type { Hash } from "@vlinder/protocol";
import type { ObjectStorage, StoredObject, StoredReply, Transaction } from "../object-storage.ts";

export interface OpenedStorage {
  readonly storage: ObjectStorage;
  /** Opens what was stored once more, after `storage` was closed; absent where nothing outlives it. */
  readonly reopen?: () => Promise<ObjectStorage>;
  /** Deletes what the test left. */
  readonly dispose: () => Promise<void>;
}

export const hashOf = (bytes: Uint8Array | string): Hash => createHash("sha256").update(bytes).digest("hex") as Hash;
export const text = (words: string): Uint8Array => Buffer.from(words);
export const object = (words: string, kind: StoredObject["kind"] = "value"): StoredObject => {
  return { kind, hash: hashOf(words), bytes: text(words) };
};
export const transaction = (parts: Partial<Transaction>): Transaction => ({
  objects: [],
  branches: [],
  replies: [],
  ...parts,
});

export const TIME = "2026-11-20T21:40:00.123Z";
export const reply = (id: string, time = 1000, words = "{}"): StoredReply => ({
  id,
  request: hashOf(id),
  reply: words,
  time,
});
