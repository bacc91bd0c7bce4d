import type { Hash } from "@vlinder/protocol";
import type { StoredBranch, Usage } from "../../storage/object-storage.ts";
import type { Keeping } from "../retention/keeping.ts";
import type { VerifyGround } from "./verification.ts";

/** What verifying stands on; what of a state is known to be gone is no damage. `begin` @throws pruned, when that is the state itself */
export function verifyGround(
  at: Hash | null,
  { pruned, erased, watch, retention }: Keeping,
  state: { branches(): readonly StoredBranch[]; usage(): Promise<Usage> },
): VerifyGround {
  return {
    begin: async () => {
      const { started, isActive } = watch;
      const { counts } = await state.usage();
      if (at !== null) pruned.check(at);
      const task = { at, counts, branches: state.branches(), dropped: pruned.hashes, erased: erased.hashes };
      const stood = async (): Promise<boolean> => {
        if (!isActive && watch.started === started) return true;
        await retention.idle();
        return false;
      };
      return { task, stood };
    },
    withoutRemoval: (work) => retention.meanwhile(work),
  };
}
