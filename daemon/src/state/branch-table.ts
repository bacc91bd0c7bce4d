import { type BranchName, type Hash, VlinderError } from "@vlinder/protocol";
import { movedBranch } from "../storage/branch-moves.ts";
import type { BranchMove, StoredBranch } from "../storage/object-storage.ts";

/** An agent's branches by id and by name, tombstones too. */
export class BranchTable {
  readonly #byId: Map<Hash, StoredBranch>;
  readonly #idByName = new Map<string, Hash>();

  constructor(branches: Iterable<StoredBranch>) {
    this.#byId = new Map();
    for (const branch of branches) this.set(branch);
  }

  byId(id: Hash): StoredBranch | undefined {
    return this.#byId.get(id);
  }

  /** A branch that is not deleted. */
  byName(name: string): (StoredBranch & { readonly head: Hash }) | undefined {
    const id = this.#idByName.get(name);
    const branch = id === undefined ? undefined : this.#byId.get(id);
    return branch === undefined || branch.head === null ? undefined : { ...branch, head: branch.head };
  }

  /** @throws not_found */
  required(name: BranchName): StoredBranch & { readonly head: Hash } {
    const branch = this.byName(name);
    if (branch !== undefined) return branch;
    throw new VlinderError("not_found", `there is no branch "${name}"`, {
      details: {
        branch: name,
        branches: this.live()
          .slice(0, 20)
          .map((b) => b.name),
      },
      remedy: "`vlinder branch list` shows the branches, `vlinder fork` makes one",
    });
  }

  all(): StoredBranch[] {
    return [...this.#byId.values()];
  }

  live(): (StoredBranch & { readonly head: Hash })[] {
    return this.all().flatMap((branch) => (branch.head === null ? [] : [{ ...branch, head: branch.head }]));
  }

  set(branch: StoredBranch): void {
    const old = this.#byId.get(branch.id);
    if (old !== undefined && old.name === branch.name && old.head !== null && branch.head !== null) {
      // It only moved, as it does in nearly every call.
      this.#byId.set(branch.id, branch);
      return;
    }
    if (old !== undefined && this.#idByName.get(old.name) === old.id) this.#idByName.delete(old.name);
    this.#byId.set(branch.id, branch);
    if (branch.head !== null) this.#idByName.set(branch.name, branch.id);
  }

  /** As the storage sees it too. */
  move(move: BranchMove): void {
    this.set(movedBranch(this.#byId.get(move.id), move));
  }

  /** Puts an earlier state of a branch back; undefined: there was none. */
  restore(id: Hash, branch: StoredBranch | undefined): void {
    if (branch !== undefined) return this.set(branch);
    const now = this.#byId.get(id);
    if (now !== undefined && this.#idByName.get(now.name) === id) this.#idByName.delete(now.name);
    this.#byId.delete(id);
  }

  copy(): BranchTable {
    return new BranchTable(this.#byId.values());
  }
}
