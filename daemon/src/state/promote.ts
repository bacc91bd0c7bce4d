import {
  type BranchName,
  canonicalJson,
  type Commit,
  type Hash,
  hashSnapshot,
  invalid,
  parseBranchName,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import { randomBytes } from "node:crypto";
import { isAncestor } from "./ancestry.ts";
import type { Draft, LiveBranch } from "./draft.ts";
import type { Head } from "./head.ts";
import { Merger } from "./merge.ts";

export interface PromoteReply {
  /** The commit with the promoted branch's keys and vectors, now the head of the branch that was replaced. */
  readonly state: Hash;
  /** Name and id of the sealed branch that keeps the old head. */
  readonly sealed: BranchName;
  readonly branchId: Hash;
}

/**
 * Puts one branch in another one's place, going forward: a commit with both heads as parents keeps the first one's
 * keys and vectors, with the contract merged. So whoever still has the old head fast-forwards, and what was written on
 * it meanwhile merges on top. The old head stays as a sealed branch. @throws not_found, sealed, invalid
 */
export async function promote(draft: Draft, name: BranchName, into: BranchName): Promise<PromoteReply> {
  const [promoted, replaced] = [promotable(draft, name, into), draft.writable(into)];
  const [theirs, ours] = [await draft.head(promoted), await draft.head(replaced)];
  await refuseIdle(draft, promoted, theirs, replaced, ours);
  const contract = await new Merger(draft.agent, draft.source).contract(theirs.commit, ours.commit);
  const sealed = seal(draft, replaced, ours);
  const event = { kind: "promote", info: { branch: name, sealed: sealed.name } } as const;
  const head = await draft.promote(replaced, theirs, contract, { event }, `promote ${name}: was ${sealed.name}`);
  return { state: head.commit, sealed: sealed.name, branchId: sealed.id };
}

function promotable(draft: Draft, name: BranchName, into: BranchName): LiveBranch {
  const branch = draft.table.required(name);
  if (name === into) {
    throw invalid(`the branch "${name}" can't take its own place`, {
      details: { branch: name, into },
      remedy: `name the branch that is to take it: vlinder promote ${draft.agent} BRANCH; vlinder branch list ${draft.agent} shows them`,
    });
  }
  if (!branch.sealed) return branch;
  throw new VlinderError("sealed", `the branch "${name}" is sealed`, {
    details: { branch: name },
    remedy: `go back to what it holds: vlinder rewind ${draft.agent} --to ${name}${into === "main" ? "" : ` --branch ${into}`}`,
  });
}

/** A promote that would change nothing is a slip: most often the second one of the same branch. */
async function refuseIdle(
  draft: Draft,
  promoted: LiveBranch,
  theirs: Head,
  replaced: LiveBranch,
  ours: Head,
): Promise<void> {
  const find = (hash: Hash): Promise<Commit | null> => draft.source.findCommit(hash);
  const { contract } = ours.snapshot;
  if (hashSnapshot({ ...theirs.snapshot, contract }) !== hashSnapshot(ours.snapshot)) return;
  if (!(await isAncestor(find, theirs.commit, ours.commit))) return;
  throw invalid(`"${replaced.name}" holds what "${promoted.name}" holds already: there is nothing to promote`, {
    details: { branch: promoted.name, into: replaced.name, head: theirs.commit },
    remedy: `write on it first: --branch ${promoted.name}`,
  });
}

/**
 * Keeps a head that is about to be replaced, as a sealed branch. Its id follows from the branch and the head: machines
 * that replace the same head, each by itself, keep one branch, and not one each.
 */
function seal(draft: Draft, replaced: LiveBranch, head: Head): { id: Hash; name: BranchName } {
  const id = sealedBranchId(replaced.id, head.commit);
  const known = draft.table.byId(id);
  // It came from a machine that has promoted there, before the commit that did.
  if (known?.head === head.commit && known.sealed) return { id, name: known.name as BranchName };
  const free = known === undefined ? id : (randomBytes(32).toString("hex") as Hash);
  const name = sealedName(draft);
  draft.move({ id: free, name, head: null }, head, `sealed: was ${replaced.name}`, { sealed: true });
  return { id: free, name };
}

/** The id of the sealed branch that keeps what was a branch's head. */
export function sealedBranchId(branch: Hash, head: Hash): Hash {
  return sha256(canonicalJson({ branch, sealed: head }));
}

function sealedName(draft: Draft): BranchName {
  const day = `broken-${draft.now().toISOString().slice(0, 10)}`;
  let name = day;
  for (let n = 2; draft.table.byName(name) !== undefined; n++) name = `${day}-${n}`;
  return parseBranchName(name);
}
