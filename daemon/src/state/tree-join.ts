import type { Change, Contract, Hash, Key, MergePolicy } from "@vlinder/protocol";
import { isNewer } from "./ancestry.ts";
import type { Entry, Space } from "./api.ts";
import { conflictKey } from "./conflict-key.ts";
import type { DocumentJoiner, JoinedDocument } from "./document-join.ts";
import type { NotMerged } from "./documents/merged-document.ts";
import type { Head } from "./head.ts";
import { type Attribution, lastChanges } from "./last-change.ts";
import type { MergeConflict } from "./merge-conflict.ts";
import type { Source } from "./source.ts";
import { diffTrees, getEntry } from "./tree/read.ts";

/** One side of a merge: real commits, or bases that were merged with each other first. */
export interface Side {
  readonly commits: readonly Hash[];
  readonly head: Head;
}

export interface Sides {
  readonly base: Head;
  readonly left: Side;
  readonly right: Side;
  /** Whose values somebody wants where both changed a key; null: the policies decide. */
  readonly prefer: "left" | "right" | null;
}

/** A key that both sides changed. */
interface Contest {
  readonly key: Key;
  readonly was: Entry | null;
  readonly mine: Entry | null;
  readonly theirs: Entry | null;
}

interface Standing extends Contest {
  readonly mine: Entry;
  readonly theirs: Entry;
}

export interface JoinedTree {
  /** What the left side must change, in key order. */
  readonly changes: Change[];
  readonly conflicts: MergeConflict[];
}

/** Three-way merge of one of the two trees: diff, changes, and a policy for what both changed. */
export class TreeJoin {
  readonly #space: Space;
  readonly #sides: Sides;
  readonly #rules: Contract | null;
  readonly #changes = new Map<Key, Change>();
  readonly #conflicts: MergeConflict[] = [];

  constructor(space: Space, sides: Sides, rules: Contract | null) {
    this.#space = space;
    this.#sides = sides;
    this.#rules = rules;
  }

  async run(source: Source, joiner: DocumentJoiner): Promise<JoinedTree> {
    const contests = await this.#compare();
    if (this.#sides.prefer !== null) this.#choose(contests, this.#sides.prefer);
    else await this.#decide(contests.filter(isStanding), source, joiner);
    const changes = [...this.#changes.values()].sort((a, b) => (a[0] < b[0] ? -1 : 1));
    return { changes, conflicts: this.#conflicts };
  }

  #set(key: Key, entry: Pick<Entry, "hash" | "size"> | null): void {
    this.#changes.set(key, entry === null ? [key, null, 0] : [key, entry.hash, entry.size]);
  }

  /** Takes what only the right side changed; returns what both did. */
  async #compare(): Promise<Contest[]> {
    const { base, left, right } = this.#sides;
    const space = this.#space;
    const contests: Contest[] = [];
    const mineDiff = diffTrees(base.nodes, base.snapshot[space], left.head.nodes, left.head.snapshot[space]);
    const theirDiff = diffTrees(base.nodes, base.snapshot[space], right.head.nodes, right.head.snapshot[space]);
    let mine = await mineDiff.next();
    for await (const theirs of theirDiff) {
      while (mine.done !== true && mine.value.key < theirs.key) mine = await mineDiff.next();
      if (mine.done === true || mine.value.key !== theirs.key) {
        this.#set(theirs.key, theirs.to);
        continue;
      }
      const own = mine.value.to;
      if (own?.hash === theirs.to?.hash) continue;
      // A change beats a delete.
      if (own === null) this.#set(theirs.key, theirs.to);
      contests.push({ key: theirs.key, was: theirs.from, mine: own, theirs: theirs.to });
    }
    return contests;
  }

  /** Somebody's choice: that side's values, its deletions too. */
  #choose(contests: readonly Contest[], prefer: "left" | "right"): void {
    for (const { key, mine, theirs } of contests) {
      const [winner, loser] = prefer === "left" ? [mine, theirs] : [theirs, mine];
      if (loser === null) continue;
      if (prefer === "right") this.#set(key, winner);
      else this.#changes.delete(key);
      this.#list(key, prefer === "left", winner, loser, { kept: null });
    }
  }

  async #decide(contests: readonly Standing[], source: Source, joiner: DocumentJoiner): Promise<void> {
    if (contests.length === 0) return;
    const { left, right } = this.#sides;
    const keys = contests.map(({ key }) => key);
    const myChanges = await lastChanges(source, left, this.#space, keys);
    const theirChanges = await lastChanges(source, right, this.#space, keys);
    const join = joiner.begin();
    for (const { key, was, mine, theirs } of contests) {
      const iWin = isNewer(myChanges.get(key) as Attribution, theirChanges.get(key) as Attribution);
      const [winner, loser] = iWin ? [mine, theirs] : [theirs, mine];
      const policy = policyFor(this.#rules, this.#space, key);
      const document = policy === "json" || policy === "lines" ? await join(policy, was, winner, loser) : null;
      if (document !== null && !("why" in document)) {
        this.#takeDocument(key, iWin, mine, theirs, document);
        continue;
      }
      if (!iWin) this.#set(key, theirs);
      const kept = policy === "newest" ? null : await this.#keep(key, loser);
      this.#list(key, iWin, winner, loser, { kept, ...document });
    }
  }

  #takeDocument(key: Key, iWin: boolean, mine: Entry, theirs: Entry, { hash, size, places }: JoinedDocument): void {
    if (hash !== mine.hash) this.#set(key, { hash, size });
    const [winner, loser] = iWin ? [mine, theirs] : [theirs, mine];
    if (places.length > 0) this.#list(key, iWin, winner, loser, { kept: null, places });
  }

  #list(
    key: Key,
    iWin: boolean,
    winner: Entry | null,
    loser: Entry,
    rest: Pick<MergeConflict, "kept" | "places"> & Partial<NotMerged>,
  ): void {
    this.#conflicts.push({
      space: this.#space,
      key,
      policy: policyFor(this.#rules, this.#space, key),
      winner: winner?.hash ?? null,
      loser: loser.hash,
      winnerFrom: iWin ? 0 : 1,
      ...rest,
    });
  }

  /** Puts the value that lost beside the other; null when another one is there. */
  async #keep(key: Key, loser: Entry): Promise<Key | null> {
    const { head } = this.#sides.left;
    const kept = conflictKey(key, loser.hash);
    const own = (await getEntry(head.nodes, head.snapshot[this.#space], kept))?.hash ?? null;
    const there = this.#changes.has(kept) ? this.#changes.get(kept)?.[1] : own;
    if (there === null && own === loser.hash) this.#changes.delete(kept);
    else if (there === null) this.#set(kept, loser);
    // Somebody has written over the copy: what they wrote stays, and this value is in history.
    else if (there !== loser.hash) return null;
    return kept;
  }
}

function isStanding(contest: Contest): contest is Standing {
  return contest.mine !== null && contest.theirs !== null;
}

/** The policy of the longest prefix that the key has. Vector records are no documents: of these the newest stays. */
function policyFor(contract: Contract | null, space: Space, key: Key): MergePolicy {
  let best = -1;
  let policy: MergePolicy = "keep-both";
  for (const [prefix, named] of Object.entries(contract?.merge.policies ?? {})) {
    const bytes = Buffer.from(prefix, "utf8").toString("latin1");
    if (bytes.length > best && key.startsWith(bytes)) {
      best = bytes.length;
      policy = named as MergePolicy;
    }
  }
  return space === "vectors" && (policy === "json" || policy === "lines") ? "newest" : policy;
}
