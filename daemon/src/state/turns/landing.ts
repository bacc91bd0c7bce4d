import { randomBytes } from "node:crypto";
import { type BranchName, type CommitEvent, type Hash, keyText, VlinderError } from "@vlinder/protocol";
import { BranchTable } from "../branch-table.ts";
import { Draft, type LiveBranch } from "../draft.ts";
import type { Head } from "../head.ts";
import { Merger } from "../merge.ts";
import { takenName } from "../mutations.ts";
import { getEntry } from "../tree/read.ts";
import type { Ended, Kept } from "./ended.ts";
import type { OpenTurn } from "./open-turn.ts";
import { type Recorded, recorded, storeValues } from "./recorded.ts";
import type { Expected, TurnGround } from "./turn-ground.ts";
import { noTurnNote, type TurnNote } from "./turn-note.ts";

/** The name of the branch that keeps what a turn did that came to nothing: somebody may have taken it for another one. */
export function keptBranch(table: BranchTable, turn: string): BranchName {
  return freeName(table, `turn/${turn}`);
}

/** The name, or the first of it with a number that no branch has. */
function freeName(table: BranchTable, wanted: string): BranchName {
  let name = wanted;
  for (let n = 2; table.byName(name) !== undefined; n++) name = `${wanted}-${n}`;
  return name as BranchName;
}

/** A branch that is not there yet, at a commit. @throws conflict: there is one of exactly this name */
export function newBranch(table: BranchTable, wanted: BranchName, head: Hash, exact: boolean): LiveBranch {
  const name = freeName(table, wanted);
  if (exact && name !== wanted) throw takenName(wanted);
  return { id: randomBytes(32).toString("hex") as Hash, name, head, sealed: false, deleted: [] };
}

/** How a turn has ended already, of which the transaction was applied though it failed; null: it has not. */
export async function ended(draft: Draft, { tried }: Pick<OpenTurn, "tried">): Promise<Ended | null> {
  for (const one of tried) if ((await draft.source.findCommit(one.commit)) !== null) return one;
  return null;
}

/** Ends a turn with `complete`, and makes its chain part of the branch: forward, or by a merge. */
export async function complete(draft: Draft, turn: OpenTurn, output: Uint8Array | null): Promise<Ended> {
  checkEffects(turn);
  const state = turn.head.commit;
  const reads = turn.trace.reads.encode();
  const last = lastCommit("complete", { state }, { output, reads });
  if (turn.isFork) return await completeFork(draft, turn, last);
  const branch = draft.table.byId(turn.branch.id);
  if (branch?.head == null) return await keep(draft, turn, conflict(`the branch "${turn.branch.name}" was deleted`));
  if (branch.sealed) return await keep(draft, turn, conflict(`the branch "${branch.name}" was sealed`));
  if (branch.head === turn.base) {
    const head = await end(draft, turn, last);
    draft.move(branch, head, `turn ${turn.turn}`);
    return { kind: "completed", state, commit: head.commit, head: head.commit, merged: false, conflicts: 0 };
  }
  const moved = await draft.head({ ...branch, head: branch.head });
  const broken = await firstBroken(moved, turn.trace.expected);
  if (broken !== null) {
    const { key, hash: expected, actual } = broken;
    const reason = `the key ${keyText(key)} has been changed on the branch since the turn expected something of it`;
    return await keep(draft, turn, { ...conflict(reason), expected: { key: keyText(key), expected, actual } });
  }
  const other = await otherDimension(draft, turn, moved);
  if (other !== null) return await keep(draft, turn, conflict(other));
  const ours = branch.head;
  const head = await end(draft, turn, last);
  const merged = await new Merger(draft.agent, draft.source).merge(branch.id, ours, head.commit);
  for (const object of merged.objects) draft.objects.push(object);
  const joined = await draft.place(branch, merged.parent, merged.commit, merged.changes, `turn ${turn.turn}: merge`);
  const conflicts = merged.conflicts.length;
  return { kind: "completed", state, commit: head.commit, head: joined.commit, merged: true, conflicts };
}

/** The branch begins with what the turn did: nobody else can have moved it. */
async function completeFork(draft: Draft, turn: OpenTurn, last: Recorded): Promise<Ended> {
  const state = turn.head.commit;
  const head = await end(draft, turn, last);
  const name = freeName(draft.table, turn.branchName);
  draft.move({ id: turn.branch.id, name, head: null }, head, `turn ${turn.turn}, from ${turn.base.slice(0, 12)}`);
  return { kind: "completed", state, commit: head.commit, head: head.commit, merged: false, conflicts: 0 };
}

/** Once it is part of the branch, nobody would look for what was left open in it. @throws conflict */
function checkEffects({ turn, effects }: OpenTurn): void {
  const running = effects.running();
  if (running === null) return;
  const { effect, key } = running;
  throw new VlinderError("conflict", `the effect "${key}" of the turn is under way`, {
    details: { turn, effect, key },
    remedy: "await turn.once(…) before the turn ends, or fail the turn",
  });
}

function conflict(reason: string): Pick<Kept, "kind" | "reason"> {
  return { kind: "conflict", reason };
}

/** Ends a turn with `fail`: no branch moves, and a new one keeps what it did. */
export async function keep(
  draft: Draft,
  turn: OpenTurn,
  how: Pick<Kept, "kind" | "reason" | "expected">,
): Promise<Kept> {
  const state = turn.head.commit;
  const { kind, reason, expected } = how;
  const head = await end(
    draft,
    turn,
    lastCommit("fail", { reason, ...(kind === "conflict" ? { conflict: true } : {}) }, {}),
  );
  return keepBranch(draft, turn.turn, { kind, state, reason, ...(expected && { expected }) }, head);
}

/** Ends a turn that was open when the daemon stopped, of which only what was stored is left. */
export async function abandon(
  draft: Draft,
  ground: Pick<TurnGround, "source" | "committer">,
  note: TurnNote,
): Promise<Kept> {
  const { turn, session, branch, name, head } = note;
  const reason = "the daemon stopped before the turn ended";
  const table = new BranchTable([{ id: branch, name, head, sealed: false, deleted: [] }]);
  const chain = new Draft({ table, heads: new Map(), unsaved: new Map() }, ground.source, ground.committer);
  const last = await append(draft, chain, name, lastCommit("fail", { reason }, {}), { session, turn });
  return keepBranch(draft, turn, { kind: "failed", state: head, reason }, last);
}

/** The branch of a turn that came to nothing. */
function keepBranch(draft: Draft, turn: string, how: Omit<Kept, "commit" | "branch">, head: Head): Kept {
  const branch = keptBranch(draft.table, turn);
  const why = `turn ${turn} ${how.kind === "conflict" ? "ended with a conflict" : "failed"}`;
  draft.move({ id: randomBytes(32).toString("hex") as Hash, name: branch, head: null }, head, why);
  return { ...how, commit: head.commit, branch };
}

function lastCommit(
  kind: "complete" | "fail",
  info: NonNullable<CommitEvent["info"]>,
  values: Readonly<Record<string, Uint8Array | null>>,
): Recorded {
  const there = Object.entries(values).flatMap(([name, bytes]) => (bytes === null ? [] : [[name, bytes] as const]));
  return recorded({ kind, info, values: Object.fromEntries(there) });
}

/** The chain with a last commit, as part of a transaction. The turn stays as it was, until that is durable. */
async function end(draft: Draft, turn: OpenTurn, last: Recorded): Promise<Head> {
  turn.handOver(draft);
  const ending = turn.ending();
  try {
    return await append(draft, ending, turn.branchName, last, turn);
  } finally {
    ending.drop();
  }
}

async function append(
  draft: Draft,
  chain: Draft,
  branch: BranchName,
  last: Recorded,
  { session, turn }: { readonly session: string; readonly turn: string },
): Promise<Head> {
  storeValues(chain, last);
  const head = await chain.commit(chain.table.required(branch), {}, { event: last.event, session, turn });
  for (const object of chain.objects) draft.objects.push(object);
  for (const retiring of chain.retiring) draft.retiring.push(retiring);
  for (const [hash, unsaved] of chain.unsaved) draft.unsaved.set(hash, unsaved);
  draft.notes.push(noTurnNote(turn));
  return head;
}

/** Its first vector fixed the dimension, and the branch's first vector another one since: no merge can hold both. */
async function otherDimension(draft: Draft, turn: OpenTurn, moved: Head): Promise<string | null> {
  const { contract } = turn.head.snapshot;
  if (contract === null || contract === turn.contract || moved.snapshot.contract === null) return null;
  const mine = (await turn.ending().source.contract(contract)).vectors?.dimension;
  const theirs = (await draft.source.contract(moved.snapshot.contract)).vectors?.dimension;
  if (mine === undefined || theirs === undefined || mine === theirs) return null;
  return `vectors of the turn have ${mine} components, and those of the branch ${theirs} since`;
}

/** The first expectation that the branch no longer meets. */
async function firstBroken(
  head: Head,
  all: Iterable<Expected>,
): Promise<(Expected & { readonly actual: Hash | null }) | null> {
  for (const one of all) {
    const actual = (await getEntry(head.nodes, head.snapshot[one.space], one.key))?.hash ?? null;
    if (actual !== one.hash) return { ...one, actual };
  }
  return null;
}
