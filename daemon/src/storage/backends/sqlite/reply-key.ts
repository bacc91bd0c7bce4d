import { hash as hashOnce } from "node:crypto";
import type { Hash } from "@vlinder/protocol";

/** Under what the reply to an id is found. */
export function replyKey(id: string): Hash {
  return hashOnce("sha256", id, "hex") as Hash;
}
