import {
  type AgentName,
  type Change,
  type Changes,
  type Commit,
  type Contract,
  type Hash,
  hashSnapshot,
  type Json,
  type Key,
  canonicalJson,
  keyText,
  type MergePolicy,
  sha256,
  unknownMergeRules,
  VlinderError,
} from "@vlinder/protocol";
import { commonAncestors, isNewer } from "./ancestry.ts";
import type { Entry, Space } from "./api.ts";
import { valueObjects } from "./value-cutter.ts";
import { conflictKey } from "./conflict-key.ts";
import { storedChanges } from "./draft.ts";
import { applyChanges, type Head } from "./head.ts";
import { type Attribution, lastChanges } from "./last-change.ts";
import type { Source } from "./source.ts";
import { diffTrees, getEntry } from "./tree/read.ts";
import type { StoredObject } from "../storage/object-storage.ts";

/** A key that both sides changed, and how it was decided. */
export interface MergeConflict {
  readonly space: Space;
  readonly key: Key;
  /** Where the other value is kept; null: in history only. */
  readonly kept: Key | null;
  readonly winner: Hash;
  readonly loser: Hash;
}

export interface Merged {
  /** The first parent's state, on which the commit's changes apply. */
  readonly parent: Head;
  readonly commit: Commit;
  readonly changes: Changes;
  readonly conflicts: readonly MergeConflict[];
  /** The list of conflicts as a value. */
  readonly objects: readonly StoredObject[];
}

/** One side of a merge: real commits, or bases that were merged with each other first. */
interface Side {
  readonly commits: readonly Hash[];
  readonly head: Head;
}

interface Joined {
  readonly changes: Changes;
  readonly conflicts: readonly MergeConflict[];
}

/**
 * Three-way merge of two histories of one branch: a pure function of the two commits. No clock, no
 * device, nothing that is at hand by chance goes in, so machines that merge apart make the same
 * commit, byte for byte.
 */
export class Merger {
  readonly #source: Source;
  readonly #agent: AgentName;

  constructor(agent: AgentName, source: Source) {
    this.#agent = agent;
    this.#source = source;
  }

  /** @throws unavailable, when a side's contract asks for merge rules that this release does not know */
  async merge(branch: Hash, a: Hash, b: Hash): Promise<Merged> {
    const [first, second] = (a < b ? [a, b] : [b, a]) as [Hash, Hash];
    const left: Side = { commits: [first], head: await this.#source.at(first) };
    const right: Side = { commits: [second], head: await this.#source.at(second) };
    const { changes, conflicts } = await this.#join(left, right);
    const state = await applyChanges(left.head, changes);
    const time = left.head.time > right.head.time ? left.head.time : right.head.time;
    const list = Buffer.from(canonicalJson(conflicts.map(conflictJson)), "utf8");
    const commit: Commit = {
      v: 1,
      agent: this.#agent,
      branch,
      parents: [first, second],
      snapshot: hashSnapshot(state.snapshot),
      event:
        conflicts.length === 0
          ? { kind: "merge" }
          : { kind: "merge", values: { conflicts: [sha256(list), list.length] } },
      ...(time === "" ? {} : { time }),
      ...(Object.keys(changes).length === 0 ? {} : { changes: storedChanges(changes) }),
    };
    const objects = conflicts.length === 0 ? [] : valueObjects(sha256(list), list);
    return { parent: left.head, commit, changes, conflicts, objects };
  }

  /** What the left side must change to become the merge of both. */
  async #join(left: Side, right: Side): Promise<Joined> {
    const base = await this.#base(left, right);
    const contract = await this.#joinContract(base, left, right);
    const rules = contract === null ? null : await this.#contract(contract);
    const kv = await this.#joinTrees("kv", base, left, right, rules);
    const vectors = await this.#joinTrees("vectors", base, left, right, rules);
    const changes: Changes = {
      ...(contract === null || contract === left.head.snapshot.contract ? {} : { contract }),
      ...(kv.changes.length === 0 ? {} : { kv: kv.changes }),
      ...(vectors.changes.length === 0 ? {} : { vectors: vectors.changes }),
    };
    return { changes, conflicts: [...kv.conflicts, ...vectors.conflicts] };
  }

  /** The best common ancestor; several are merged with each other first, in hash order. */
  async #base(left: Side, right: Side): Promise<Head> {
    const find = (hash: Hash): Promise<Commit | null> => this.#source.findCommit(hash);
    const ancestors = await commonAncestors(find, left.commits, right.commits);
    const [first, ...others] = ancestors;
    if (first === undefined) return this.#source.empty();
    let base: Side = { commits: [first], head: await this.#source.at(first) };
    for (const other of others) {
      const next: Side = { commits: [other], head: await this.#source.at(other) };
      const { changes } = await this.#join(base, next);
      const state = await applyChanges(base.head, changes);
      base = { commits: [...base.commits, other], head: { ...base.head, ...state } };
    }
    return base.head;
  }

  async #contract(hash: Hash): Promise<Contract> {
    const contract = await this.#source.contract(hash);
    const unknown = unknownMergeRules(contract);
    if (unknown === null) return contract;
    throw new VlinderError("unavailable", `this release does not know ${unknown}: the histories are not merged`, {
      retryable: false,
      remedy: "update vlinder on this machine; until then both sides are kept as they are",
    });
  }

  async #joinContract(base: Head, left: Side, right: Side): Promise<Hash | null> {
    const was = base.snapshot.contract;
    const mine = left.head.snapshot.contract;
    const theirs = right.head.snapshot.contract;
    if (theirs === was || theirs === mine || theirs === null) return mine;
    if (mine === was || mine === null) return theirs;
    return isNewer(await this.#contractChange(left), await this.#contractChange(right)) ? mine : theirs;
  }

  async #contractChange(side: Side): Promise<Attribution> {
    return (await lastChanges(this.#source, side, "contract", [""])).get("") as Attribution;
  }

  async #joinTrees(
    space: Space,
    base: Head,
    left: Side,
    right: Side,
    rules: Contract | null,
  ): Promise<{ changes: Change[]; conflicts: MergeConflict[] }> {
    const changes = new Map<Key, Change>();
    const both: { key: Key; mine: Entry; theirs: Entry }[] = [];
    const set = (key: Key, entry: Entry | null): void => {
      changes.set(key, entry === null ? [key, null, 0] : [key, entry.hash, entry.size]);
    };
    const mineDiff = diffTrees(base.nodes, base.snapshot[space], left.head.nodes, left.head.snapshot[space]);
    const theirDiff = diffTrees(base.nodes, base.snapshot[space], right.head.nodes, right.head.snapshot[space]);
    let mine = await mineDiff.next();
    for await (const theirs of theirDiff) {
      while (mine.done !== true && mine.value.key < theirs.key) mine = await mineDiff.next();
      if (mine.done === true || mine.value.key !== theirs.key) {
        set(theirs.key, theirs.to);
        continue;
      }
      const own = mine.value.to;
      if (own?.hash === theirs.to?.hash) continue;
      // A change beats a delete.
      if (own === null) set(theirs.key, theirs.to);
      else if (theirs.to !== null) both.push({ key: theirs.key, mine: own, theirs: theirs.to });
    }
    const conflicts = await this.#decide(space, left, right, both, rules, changes);
    return { changes: [...changes.values()].sort((a, b) => (a[0] < b[0] ? -1 : 1)), conflicts };
  }

  async #decide(
    space: Space,
    left: Side,
    right: Side,
    both: readonly { key: Key; mine: Entry; theirs: Entry }[],
    rules: Contract | null,
    changes: Map<Key, Change>,
  ): Promise<MergeConflict[]> {
    if (both.length === 0) return [];
    const keys = both.map(({ key }) => key);
    const myChanges = await lastChanges(this.#source, left, space, keys);
    const theirChanges = await lastChanges(this.#source, right, space, keys);
    const conflicts: MergeConflict[] = [];
    for (const { key, mine, theirs } of both) {
      const iWin = isNewer(myChanges.get(key) as Attribution, theirChanges.get(key) as Attribution);
      const [winner, loser] = iWin ? [mine, theirs] : [theirs, mine];
      if (!iWin) changes.set(key, [key, theirs.hash, theirs.size]);
      let kept: Key | null = null;
      if (policyFor(rules, key) === "keep-both") {
        kept = conflictKey(key, loser.hash);
        const own = (await getEntry(left.head.nodes, left.head.snapshot[space], kept))?.hash ?? null;
        const there = changes.has(kept) ? changes.get(kept)?.[1] : own;
        if (there === null && own === loser.hash) changes.delete(kept);
        else if (there === null) changes.set(kept, [kept, loser.hash, loser.size]);
        // Somebody has written over the copy: what they wrote stays, and this value is in history.
        else if (there !== loser.hash) kept = null;
      }
      conflicts.push({ space, key, kept, winner: winner.hash, loser: loser.hash });
    }
    return conflicts;
  }
}

/** The policy of the longest prefix that the key has. */
function policyFor(contract: Contract | null, key: Key): MergePolicy {
  let best = -1;
  let policy: MergePolicy = "keep-both";
  for (const [prefix, named] of Object.entries(contract?.merge.policies ?? {})) {
    const bytes = Buffer.from(prefix, "utf8").toString("latin1");
    if (bytes.length > best && key.startsWith(bytes)) {
      best = bytes.length;
      policy = named as MergePolicy;
    }
  }
  return policy;
}

function conflictJson(conflict: MergeConflict): Json {
  const { space, key, kept, winner, loser } = conflict;
  return { space, key: keyText(key), kept: kept === null ? null : keyText(kept), winner, loser };
}
