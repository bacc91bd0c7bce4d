import type { Hash } from "@vlinder/protocol";
import type { Kind } from "../storage/object-storage.ts";

/** The bytes of an object that is about to be stored. */
export type FindObject = (kind: Kind, hash: Hash) => Uint8Array | undefined;
