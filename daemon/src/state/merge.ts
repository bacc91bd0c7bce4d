import {
  type AgentName,
  type Changes,
  type Commit,
  type Contract,
  type DeviceId,
  type Hash,
  hashSnapshot,
  sha256,
  unknownMergeRules,
  VlinderError,
} from "@vlinder/protocol";
import type { StoredObject } from "../storage/object-storage.ts";
import { commonAncestors, isNewer } from "./ancestry.ts";
import { DocumentJoiner } from "./document-join.ts";
import { valueObjects } from "./value-cutter.ts";
import { storedChanges } from "./draft.ts";
import { applyChanges, type Head } from "./head.ts";
import { type Attribution, lastChanges } from "./last-change.ts";
import { encodeConflicts, type MergeConflict } from "./merge-conflict.ts";
import type { Source } from "./source.ts";
import { type Side, type Sides, TreeJoin } from "./tree-join.ts";

/** Somebody's choice between two parents, and who made it when. */
export interface Choice {
  /** The parent whose values stay where both changed a key. */
  readonly prefer: Hash;
  readonly device: DeviceId;
  readonly time: string;
}

export interface Merged {
  /** The first parent's state, on which the commit's changes apply. */
  readonly parent: Head;
  readonly commit: Commit;
  readonly changes: Changes;
  readonly conflicts: readonly MergeConflict[];
  /** The list of conflicts and the merged documents, as values. */
  readonly objects: readonly StoredObject[];
}

interface Joined {
  readonly changes: Changes;
  readonly conflicts: readonly MergeConflict[];
  /** Both changed the contract. */
  readonly contractContested: boolean;
}

/**
 * Three-way merge of two histories of one branch: a pure function of the two commits. No clock, no
 * device, nothing that is at hand by chance goes in, so machines that merge apart make the same
 * commit, byte for byte. Only where somebody chose one side, and there was something to choose, the
 * commit says so, and who did it when.
 */
export class Merger {
  readonly #source: Source;
  readonly #agent: AgentName;
  readonly #documents: DocumentJoiner;

  constructor(agent: AgentName, source: Source) {
    this.#agent = agent;
    this.#source = source;
    this.#documents = new DocumentJoiner(source);
  }

  /** @throws unavailable, when a side's contract asks for merge rules that this release does not know, or a value is not here */
  async merge(branch: Hash, a: Hash, b: Hash, choice: Choice | null = null): Promise<Merged> {
    const [first, second] = (a < b ? [a, b] : [b, a]) as [Hash, Hash];
    const left: Side = { commits: [first], head: await this.#source.at(first) };
    const right: Side = { commits: [second], head: await this.#source.at(second) };
    const prefer = choice === null ? null : choice.prefer === first ? "left" : "right";
    const { changes, conflicts, contractContested } = await this.#join(left, right, prefer);
    const state = await applyChanges(left.head, changes);
    const chosen = conflicts.length > 0 || contractContested ? choice : null;
    const time = [left.head.time, right.head.time, chosen?.time ?? ""].sort().at(-1) as string;
    const list = encodeConflicts(conflicts);
    const commit: Commit = {
      v: 1,
      agent: this.#agent,
      branch,
      parents: [first, second],
      snapshot: hashSnapshot(state.snapshot),
      event: {
        kind: "merge",
        ...(chosen === null ? {} : { info: { prefer: chosen.prefer } }),
        ...(conflicts.length === 0 ? {} : { values: { conflicts: [sha256(list), list.length] } }),
      },
      ...(chosen === null ? {} : { device: chosen.device }),
      ...(time === "" ? {} : { time }),
      ...(Object.keys(changes).length === 0 ? {} : { changes: storedChanges(changes) }),
    };
    const objects = conflicts.length === 0 ? [] : valueObjects(sha256(list), list);
    for (const [, hash] of changes.kv ?? []) {
      const made = hash === null ? undefined : this.#documents.made(hash);
      if (made !== undefined) objects.push(...valueObjects(hash as Hash, made));
    }
    return { parent: left.head, commit, changes, conflicts, objects };
  }

  /** The contract that a merge of two commits would have. @throws unavailable */
  async contract(a: Hash, b: Hash): Promise<Hash | null> {
    const left: Side = { commits: [a], head: await this.#source.at(a) };
    const right: Side = { commits: [b], head: await this.#source.at(b) };
    const { contract } = left.head.snapshot;
    if (contract === right.head.snapshot.contract) return contract;
    const base = await this.#base(left, right);
    return (await this.#joinContract({ base, left, right, prefer: null })).contract;
  }

  /** What the left side must change to become the merge of both. */
  async #join(left: Side, right: Side, prefer: Sides["prefer"]): Promise<Joined> {
    const base = await this.#base(left, right);
    const sides: Sides = { base, left, right, prefer };
    const { contract, contested } = await this.#joinContract(sides);
    const rules = contract === null ? null : await this.#contract(contract);
    const kv = await new TreeJoin("kv", sides, rules).run(this.#source, this.#documents);
    const vectors = await new TreeJoin("vectors", sides, rules).run(this.#source, this.#documents);
    const changes: Changes = {
      ...(contract === null || contract === left.head.snapshot.contract ? {} : { contract }),
      ...(kv.changes.length === 0 ? {} : { kv: kv.changes }),
      ...(vectors.changes.length === 0 ? {} : { vectors: vectors.changes }),
    };
    return { changes, conflicts: [...kv.conflicts, ...vectors.conflicts], contractContested: contested };
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
      const { changes } = await this.#join(base, next, null);
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

  async #joinContract({ base, left, right, prefer }: Sides): Promise<{ contract: Hash | null; contested: boolean }> {
    const was = base.snapshot.contract;
    const mine = left.head.snapshot.contract;
    const theirs = right.head.snapshot.contract;
    if (theirs === was || theirs === mine || theirs === null) return { contract: mine, contested: false };
    if (mine === was || mine === null) return { contract: theirs, contested: false };
    const iWin =
      prefer === null
        ? isNewer(await this.#contractChange(left), await this.#contractChange(right))
        : prefer === "left";
    return { contract: iWin ? mine : theirs, contested: true };
  }

  async #contractChange(side: Side): Promise<Attribution> {
    return (await lastChanges(this.#source, side, "contract", [""])).get("") as Attribution;
  }
}
