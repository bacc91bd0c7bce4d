import { type BranchName, type Commit, type Hash, invalid, MAIN, parseRefTime, VlinderError } from "@vlinder/protocol";
import { timeOf } from "./ancestry.ts";
import type { BranchTable } from "./branch-table.ts";
import type { LiveBranch } from "./draft.ts";
import type { Lookback } from "./history/lookback.ts";
import { resolveCommit } from "./log.ts";
import type { Objects } from "./objects.ts";

/** The commit that ended a turn: its `complete`, else its `fail`. Null: no turn of that name has ended here. */
export type TurnLookup = (turn: string) => Promise<Hash | null>;

export interface RefsOptions {
  readonly branches: () => BranchTable;
  readonly objects: Pick<Objects, "findCommit" | "hasCommit">;
  /** Commits whose hashes begin with these digits. */
  readonly prefixed: (prefix: string) => Promise<Hash[]>;
  readonly lookback: Lookback;
  readonly turns: TurnLookup;
}

/** What a kind of ref names; null: it is none of this kind. */
type Resolver = (ref: string) => Promise<Hash | null>;

/** Says which commit a ref names: a branch's head, a turn's end, a commit, or what a branch was at a time; the first that it fits. */
export class Refs {
  readonly #options: RefsOptions;
  readonly #resolvers: readonly Resolver[];

  constructor(options: RefsOptions) {
    this.#options = options;
    this.#resolvers = [this.#branch, this.#turn, this.#commit, this.#moment];
  }

  /** @throws not_found; invalid, when a prefix fits several commits, or a time can't be read */
  async resolve(ref: string): Promise<Hash> {
    for (const resolver of this.#resolvers) {
      const found = await resolver(ref);
      if (found !== null) return found;
    }
    throw new VlinderError("not_found", `there is no branch or commit "${ref}"`, {
      details: { ref },
      remedy: "`vlinder branch list` and `vlinder log` show what there is; a commit is 4 hex digits or more",
    });
  }

  readonly #branch: Resolver = async (ref) => this.#options.branches().byName(ref)?.head ?? null;

  readonly #turn: Resolver = async (ref) => (ref.startsWith("t-") ? await this.#endOf(ref) : null);

  readonly #commit: Resolver = async (ref) => {
    const { objects, prefixed } = this.#options;
    return /^[0-9a-f]{4,64}$/.test(ref) ? await resolveCommit(ref, (hash) => objects.hasCommit(hash), prefixed) : null;
  };

  /** `2026-11-20T21:40Z`, `fix@2026-11-20`. */
  readonly #moment: Resolver = async (ref) => {
    const at = ref.indexOf("@");
    const time = parseRefTime(ref.slice(at + 1));
    if (time === null) {
      if (at < 0) return null;
      throw invalid(`not a time: ${JSON.stringify(ref.slice(at + 1))}`, {
        details: { ref },
        remedy: "write it as 2026-11-20T21:40Z or 2026-11-20",
      });
    }
    const branch = this.#options.branches().required((at > 0 ? ref.slice(0, at) : MAIN) as BranchName);
    return await this.#at(branch, time);
  };

  async #at(branch: LiveBranch, time: string): Promise<Hash> {
    const isHidden = (commit: Commit): Promise<boolean> => this.#isOfLaterTurn(commit, time);
    const { found, oldest } = await this.#options.lookback(branch, time, isHidden);
    if (found !== null) return found;
    throw new VlinderError("not_found", `the branch "${branch.name}" has nothing from ${time} or before`, {
      details: { branch: branch.name, time, oldest },
      remedy: oldest === null ? "no commit of it has a time yet" : `its history begins at ${oldest}`,
    });
  }

  /** Nobody saw the commits of a turn on its branch before the one that ended it. */
  async #isOfLaterTurn({ turn }: Commit, time: string): Promise<boolean> {
    const end = turn === undefined ? null : await this.#endOf(turn);
    const ended = end === null ? null : await this.#options.objects.findCommit(end);
    return ended !== null && timeOf(ended) > time;
  }

  async #endOf(turn: string): Promise<Hash | null> {
    return await this.#options.turns(turn);
  }
}
