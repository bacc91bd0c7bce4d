import { changeCount, type Commit, type Hash, hashSnapshot, VlinderError } from "@vlinder/protocol";
import { timeOf } from "./ancestry.ts";
import { adopted, emptyHead, type Head, LayeredNodes, reapplyChanges } from "./head.ts";
import type { Objects } from "./objects.ts";
import type { Pruned } from "./retention/pruned.ts";
import type { Watch } from "./retention/watch.ts";
import { TwoGenerations } from "./two-generations.ts";

/** How many rebuilt states are kept, in each of two generations. One is at most about 1 MB. */
const KEPT = 24;

/** Gives the state at any commit: its trees where they are stored, else rebuilt by replay from the last that are. */
export class Heads {
  readonly #objects: Objects;
  readonly #pruned: Pruned;
  readonly #watch: Watch;
  readonly #kept = new TwoGenerations<Hash, Head>(KEPT);
  readonly #underWay = new Map<Hash, Promise<Head>>();

  constructor(objects: Objects, pruned: Pruned, watch: Watch) {
    this.#objects = objects;
    this.#pruned = pruned;
    this.#watch = watch;
  }

  empty(): Head {
    return emptyHead(this.#objects);
  }

  isKept(commit: Hash): boolean {
    return this.#kept.get(commit) !== undefined;
  }

  /** At once where it is in memory. @throws pruned */
  at(commit: Hash): Head | Promise<Head> {
    this.#pruned.check(commit);
    // Before the first read: it may be built on without being stored again.
    this.#watch.commit(commit);
    const kept = this.#kept.get(commit);
    if (kept !== undefined) return kept;
    let loading = this.#underWay.get(commit);
    if (loading === undefined) {
      loading = this.#load(commit).finally(() => this.#underWay.delete(commit));
      this.#underWay.set(commit, loading);
    }
    return loading;
  }

  async #load(hash: Hash): Promise<Head> {
    const replay: { hash: Hash; commit: Commit }[] = [];
    let head: Head | null = null;
    for (let at: Hash | undefined = hash; head === null; at = replay.at(-1)?.commit.parents[0]) {
      if (at === undefined) {
        head = this.empty();
        break;
      }
      const kept = this.#kept.get(at);
      if (kept !== undefined) {
        head = kept;
        break;
      }
      const commit: Commit = await this.#objects.commit(at);
      const snapshot = await this.#objects.storedSnapshot(commit.snapshot);
      if (snapshot !== null) {
        const nodes = new LayeredNodes([], this.#objects);
        head = { commit: at, time: timeOf(commit), snapshot, nodes, sinceCommits: 0, sinceChanges: 0, retiring: null };
      } else {
        replay.push({ hash: at, commit });
      }
    }
    for (const { hash: next, commit } of replay.reverse()) head = await this.replay(head, next, commit);
    this.#kept.set(hash, head);
    return head;
  }

  /** The state after a commit, computed from its parent's and held against what the commit says. @throws internal */
  async replay(parent: Head, hash: Hash, commit: Commit): Promise<Head> {
    const changes = await this.#objects.changesOf(commit);
    const state =
      commit.adopts === undefined
        ? await reapplyChanges(parent, changes, commit)
        : adopted(parent, await this.at(commit.adopts));
    if (hashSnapshot(state.snapshot) !== commit.snapshot) {
      throw new VlinderError("internal", `the changes of commit ${hash} do not give the snapshot that it names`, {
        details: { kind: "commit", hash, expected: commit.snapshot, computed: hashSnapshot(state.snapshot) },
        remedy: "run `vlinder verify`",
      });
    }
    return {
      commit: hash,
      time: timeOf(commit),
      snapshot: state.snapshot,
      nodes: state.nodes,
      sinceCommits: parent.sinceCommits + 1,
      sinceChanges: parent.sinceChanges + changeCount(changes),
      retiring: parent.retiring,
    };
  }
}
