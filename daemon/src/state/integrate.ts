import { type Hash, hashCommit, MAIN, unknownMergeRules, VlinderError } from "@vlinder/protocol";
import type { StoredBranch } from "../storage/object-storage.ts";
import { isAncestor } from "./ancestry.ts";
import type { Integrated, TheirBranch } from "./api.ts";
import type { Draft, Mark, Place } from "./draft.ts";
import { Merger } from "./merge.ts";
import { firstCommit } from "./mutations.ts";
import type { Writer } from "./writer.ts";

const DAY = 24 * 60 * 60 * 1000;

/** Takes in what other machines say of their branches, each branch by itself. */
export async function integrateAll(
  writer: Pick<Writer, "write" | "branches">,
  theirs: readonly TheirBranch[],
): Promise<Integrated[]> {
  const byId = new Map<Hash, TheirBranch[]>();
  for (const branch of theirs) byId.set(branch.id, [...(byId.get(branch.id) ?? []), branch]);
  const results: Integrated[] = [];
  for (const branches of byId.values()) {
    try {
      results.push(await writer.write((draft) => new Integrator(draft).integrate(branches)));
    } catch (error) {
      if (!(error instanceof VlinderError) || error.code !== "pruned") throw error;
      const first = branches[0] as TheirBranch;
      results.push(outOfReach(first, writer.branches.byId(first.id), error));
    }
  }
  return results;
}

/** A branch whose state retention has dropped here can't be taken over or merged; the others can. */
function outOfReach(theirs: TheirBranch, ours: StoredBranch | undefined, error: VlinderError): Integrated {
  const { name, head, deleted } = theirs;
  const notes = [`the branch "${name}" of another machine was not taken in: ${error.message}`];
  const at = ours?.head ?? head ?? (deleted[0] as Hash);
  return { name: ours?.name ?? name, result: "kept", head: at, conflicts: 0, notes };
}

/**
 * Takes in what other machines say of one branch: fast-forward, merge, take over, tombstones, seals.
 * All heads are folded together with the own one in hash order, so that every machine that has seen
 * the same heads comes to the same commit.
 */
export class Integrator {
  readonly #draft: Draft;
  readonly #merger: Merger;
  readonly #mainId: Hash;

  constructor(draft: Draft) {
    this.#draft = draft;
    this.#merger = new Merger(draft.agent, draft.source);
    this.#mainId = hashCommit(firstCommit(draft.agent));
  }

  /** @param theirs what other machines say of one branch, at least one */
  async integrate(theirs: readonly TheirBranch[]): Promise<Integrated> {
    const draft = this.#draft;
    const id = (theirs[0] as TheirBranch).id;
    const ours = draft.table.byId(id);
    const notes: string[] = [];
    const sealed = theirs.some((branch) => branch.sealed) || (ours?.sealed ?? false);

    const deleted = await this.#graves(id, ours, theirs, notes);
    const isNew = deleted.some((hash) => ours?.deleted.includes(hash) !== true);
    const mark: Mark = { ...(sealed ? { sealed } : {}), ...(isNew ? { deleted } : {}) };
    // A deletion covers the commit that the branch had, and its ancestors; it lasts, also when the branch went on.
    const alive = async (head: Hash): Promise<boolean> => {
      for (const grave of deleted) if (await this.#reaches(grave, head)) return false;
      return true;
    };
    const candidates = new Set<Hash>(theirs.flatMap((branch) => (branch.head === null ? [] : [branch.head])));
    if (ours?.head != null) candidates.add(ours.head);
    const living: Hash[] = [];
    for (const head of candidates) if (await alive(head)) living.push(head);
    if (living.length === 0) return this.#delete(id, ours, theirs, mark, notes);
    if (ours?.head != null && isNew)
      notes.push(`the branch "${ours.name}" was deleted elsewhere, and went on: it stays`);

    const heads = await this.#tips(living);
    const unknown = await this.#unknownRules(heads);
    if (unknown !== null) {
      notes.push(`${unknown}, which this release does not know: nothing was merged, both sides stay; update vlinder`);
      const kept = ours?.head ?? (heads[0] as Hash);
      return { name: ours?.name ?? (theirs[0] as TheirBranch).name, result: "kept", head: kept, conflicts: 0, notes };
    }
    const name = ours?.head != null ? ours.name : this.#name(id, ours?.name ?? (theirs[0] as TheirBranch).name, notes);
    const branch = { id, name, head: ours?.head ?? null };
    const tip = heads[0] as Hash;
    for (const head of heads) await this.#warnOfClock(head, notes);

    if (heads.length === 1) {
      const before = ours?.head ?? null;
      if (tip === before && sealed === ours?.sealed && !isNew) {
        return { name, result: "unchanged", head: tip, conflicts: 0, notes };
      }
      draft.move(branch, await draft.source.at(tip), before === null ? "pull: new" : "pull: fast-forward", mark);
      const result = before === null ? "new" : tip === before ? "unchanged" : "fast-forward";
      return { name, result, head: tip, conflicts: 0, notes };
    }
    return await this.#mergeAll(branch, heads, mark, notes);
  }

  async #mergeAll(branch: Place, heads: readonly Hash[], mark: Mark, notes: string[]): Promise<Integrated> {
    let tip = heads[0] as Hash;
    let at = branch;
    let conflicts = 0;
    for (const next of heads.slice(1)) {
      const merged = await this.#merger.merge(branch.id, tip, next);
      for (const object of merged.objects) this.#draft.objects.push(object);
      const head = await this.#draft.place(at, merged.parent, merged.commit, merged.changes, "pull: merge", mark);
      conflicts += merged.conflicts.length;
      tip = head.commit;
      at = { ...at, head: tip };
    }
    return { name: branch.name, result: "merged", head: tip, conflicts, notes };
  }

  /** Says which of these heads has a contract that this release can't merge by; null when none has. */
  async #unknownRules(heads: readonly Hash[]): Promise<string | null> {
    for (const hash of heads) {
      const { contract } = (await this.#draft.source.at(hash)).snapshot;
      if (contract === null) continue;
      const unknown = unknownMergeRules(await this.#draft.source.contract(contract));
      if (unknown !== null) return `commit ${hash.slice(0, 12)} asks for ${unknown}`;
    }
    return null;
  }

  /** The commits at which the branch was deleted, here or elsewhere, as far as they are here to be judged. */
  async #graves(
    id: Hash,
    ours: StoredBranch | undefined,
    theirs: readonly TheirBranch[],
    notes: string[],
  ): Promise<Hash[]> {
    const known: Hash[] = [];
    for (const hash of new Set([...(ours?.deleted ?? []), ...theirs.flatMap((branch) => branch.deleted)])) {
      if ((await this.#draft.source.findCommit(hash)) !== null) known.push(hash);
    }
    if (id !== this.#mainId || known.length === 0) return known;
    notes.push("another machine says that main was deleted: main can't be, and stays");
    return [];
  }

  /** Deletes what is here, or remembers that it was deleted elsewhere. */
  #delete(
    id: Hash,
    ours: StoredBranch | undefined,
    theirs: readonly TheirBranch[],
    mark: Mark,
    notes: string[],
  ): Integrated {
    const name = ours?.name ?? (theirs[0] as TheirBranch).name;
    const before = ours?.head ?? null;
    const grave = mark.deleted?.[0] ?? ours?.deleted[0];
    const head = before ?? grave ?? ((theirs[0] as TheirBranch).deleted[0] as Hash);
    if (before !== null || mark.deleted !== undefined) {
      this.#draft.move({ id, name, head: before }, null, "pull: deleted elsewhere", mark);
    }
    return { name, result: before === null ? "unchanged" : "deleted", head, conflicts: 0, notes };
  }

  /** Heads that no other head reaches, in hash order. */
  async #tips(heads: readonly Hash[]): Promise<Hash[]> {
    const tips: Hash[] = [];
    for (const head of heads) {
      let covered = false;
      for (const other of heads) covered ||= other !== head && (await this.#reaches(other, head));
      if (!covered) tips.push(head);
    }
    return tips.sort();
  }

  #reaches(commit: Hash, ancestor: Hash): Promise<boolean> {
    return isAncestor((hash) => this.#draft.source.findCommit(hash), ancestor, commit);
  }

  /** The name that a branch gets here: its own, unless another branch has it. */
  #name(id: Hash, wanted: string, notes: string[]): string {
    // main is the branch that begins with the agent's first commit, whatever a head calls it or others.
    if (id === this.#mainId) return MAIN;
    const holder = this.#draft.table.byName(wanted);
    if (wanted !== MAIN && (holder === undefined || holder.id === id)) return wanted;
    let length = 8;
    while (this.#draft.table.byName(`${wanted}-${id.slice(0, length)}`) !== undefined) length += 4;
    const name = `${wanted}-${id.slice(0, length)}`;
    notes.push(`another branch has the name "${wanted}" here: the one from elsewhere is shown as "${name}"`);
    return name;
  }

  async #warnOfClock(head: Hash, notes: string[]): Promise<void> {
    const { time } = await this.#draft.source.commit(head);
    if (time === undefined || Date.parse(time) < this.#draft.now().getTime() + DAY) return;
    notes.push(
      `commit ${head.slice(0, 12)} is dated ${time}, more than a day ahead: check the clock of the machine that wrote it`,
    );
  }
}
