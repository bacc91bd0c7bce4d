import type { Damage, Hash } from "@vlinder/protocol";
import type { Standing } from "./checked-objects.ts";

/** What is wrong with one object. */
export type Flaw = Pick<Damage, "kind" | "hash" | "problem" | "message">;

export function flaw(kind: Flaw["kind"], hash: Hash, problem: Flaw["problem"], message: string): Flaw {
  return { kind, hash, problem, message };
}

/** Of an object that was not found good. */
export function flawOf(kind: Flaw["kind"], hash: Hash, standing: Standing): Flaw {
  if (standing === "missing") return flaw(kind, hash, "missing", "it is not in the storage");
  const message = standing === "unreadable" ? "the storage can't read it" : "its bytes have another hash";
  return flaw(kind, hash, "damaged", message);
}
