import { type Hash, sha256 } from "@vlinder/protocol";
import type { Kind, StoredObject } from "../storage/object-storage.ts";

/** An object whose hash was computed from its bytes in this process: nobody need do that a second time. Not for lists, whose name is another hash. */
export class HashedObject implements StoredObject {
  readonly kind: Exclude<Kind, "list">;
  readonly hash: Hash;
  readonly bytes: Uint8Array;

  /** @param bytes belong to the object from now on */
  constructor(kind: Exclude<Kind, "list">, bytes: Uint8Array) {
    this.kind = kind;
    this.hash = sha256(bytes);
    this.bytes = bytes;
  }
}
