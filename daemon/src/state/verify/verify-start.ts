import type { Hash } from "@vlinder/protocol";
import type { StoredBranch, Usage } from "../../storage/object-storage.ts";
import type { Keeping } from "../retention/keeping.ts";
import type { VerifyStart } from "./verification.ts";

/** What is to be verified, with what of it is known to be gone. @throws pruned, when that is the state itself */
export function verifyStart(
  at: Hash | null,
  { pruned, erased, watch, retention }: Keeping,
  branches: readonly StoredBranch[],
  counts: Usage["counts"],
): VerifyStart {
  const { started, isActive } = watch;
  if (at !== null) pruned.check(at);
  const task = { at, counts, branches, dropped: pruned.hashes, erased: erased.hashes };
  const stood = async (): Promise<boolean> => {
    if (!isActive && watch.started === started) return true;
    await retention.idle();
    return false;
  };
  return { task, stood };
}
