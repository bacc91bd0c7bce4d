import { type DrillBranch, type Hash, hashSnapshot } from "@vlinder/protocol";
import type { Exchange } from "../state/api.ts";
import type { ExpectedAgent, ExpectedBranch, RestoredBranch } from "./expected.ts";

/**
 * Compares what was restored of an agent with what is here. A branch is well when it lacks at most what this machine
 * has not pushed yet; what another machine has pushed meanwhile may be there besides.
 *
 * @param restored empty: nothing of the agent was
 */
export async function compareAgent(
  local: Exchange,
  expected: ExpectedAgent,
  restored: readonly RestoredBranch[],
): Promise<DrillBranch[]> {
  const compared: DrillBranch[] = [];
  for (const branch of expected.branches) {
    const theirs = restored.find(({ id }) => id === branch.id) ?? { id: branch.id, has: false, others: [] };
    compared.push(await compareBranch(local, branch, expected.tips, theirs));
  }
  return compared;
}

async function compareBranch(
  local: Exchange,
  { name, head }: ExpectedBranch,
  tips: readonly Hash[],
  theirs: RestoredBranch,
): Promise<DrillBranch> {
  const branch = { name, state: head, restored: theirs.head ?? null };
  if (theirs.head === head) {
    const same = hashSnapshot((await local.view(head)).snapshot) === theirs.snapshot;
    return { ...branch, result: same ? "equal" : "other", missing: 0, owed: 0, more: 0, ok: same };
  }
  // What the tips do not reach was not pushed yet; the rest must be there.
  const owed = theirs.has ? 0 : await count(local.newCommits([head], tips));
  const known = await hereOf(local, [...(theirs.head == null ? [] : [theirs.head]), ...theirs.others]);
  const missing = theirs.has ? 0 : await count(local.newCommits([head], [...known]));
  const more = theirs.others.filter((hash) => !known.has(hash)).length;
  const ok = tips.length === 0 || missing <= owed;
  const result =
    theirs.head === undefined
      ? "missing"
      : theirs.head === null
        ? "deleted"
        : more === 0
          ? "behind"
          : missing > 0
            ? "diverged"
            : "ahead";
  return { ...branch, result, missing, owed, more, ok };
}

async function hereOf(local: Exchange, commits: readonly Hash[]): Promise<Set<Hash>> {
  const here = await local.has(commits);
  return new Set(commits.filter((_, i) => here[i]));
}

async function count(items: AsyncIterable<unknown>): Promise<number> {
  let number = 0;
  for await (const _ of items) number++;
  return number;
}
