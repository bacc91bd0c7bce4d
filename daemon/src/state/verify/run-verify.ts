import type { Damage, Hash } from "@vlinder/protocol";
import { KINDS, type ObjectReader, type StoredBranch, type Usage } from "../../storage/object-storage.ts";
import { sweepObjects } from "../../storage/sweep.ts";
import { isUnreadable } from "./checked-objects.ts";
import { CommitGraph, type Links, linksOf, linksOfCommit } from "./commit-graph.ts";
import { flaw, flawOf } from "./flaw.ts";
import { pace, type Step } from "./pace.ts";
import { Lost } from "./states.ts";
import { type Gone, Verifier } from "./verifier.ts";

export interface VerifyReport {
  readonly counts: { branches: number; commits: number; nodes: number; values: number };
  /** Objects that no branch reaches: they are no error. Not counted with `at`. */
  readonly unreachable: number;
  /** Read and hashed. */
  readonly bytes: number;
  /** How many objects are not intact. */
  readonly damaged: number;
  /** They, as far as they are described. */
  readonly damage: readonly Damage[];
}

/** What is to be verified. */
export interface VerifyTask extends Gone {
  /** Only this state; null: all that the branches reach. */
  readonly at: Hash | null;
  readonly branches: readonly Pick<StoredBranch, "name" | "head">[];
  /** Counted before the branches were read. */
  readonly counts: Usage["counts"];
}

export interface VerifyRun {
  readonly progress: (done: number, total: number) => void;
  /** Whether other work waits for the thread. */
  readonly shared: boolean;
}

/** Of what is left, so much has to be done by a pass over all commits; else each is read by its hash. */
const WORTH_A_PASS = 0.1;

/** Hashes what is asked for, and replays it. @throws unavailable, when the storage is out of reach */
export async function runVerify(reader: ObjectReader, task: VerifyTask, run: VerifyRun): Promise<VerifyReport> {
  const { at, counts, branches } = task;
  if (at !== null) {
    const verifier = new Verifier(reader, null, task, pace(counts.node + counts.value, run.progress, run.shared));
    await verifier.state(at);
    return report(verifier, 0, 0);
  }
  const { commit, node, snapshot, value, chunk } = counts;
  const step = pace(2 * commit + node + snapshot + value + chunk, run.progress, run.shared);
  const verifier = new Verifier(reader, counts, task, step);
  const graph = new CommitGraph(commit);
  await verifier.objects.sweep(["commit", "snapshot", "node", "value"], (objects) => {
    for (const { kind, hash, bytes } of objects) if (kind === "commit") graph.add(hash, linksOf(bytes));
    return step(objects.length);
  });
  const live = branches.filter((branch): branch is { name: string; head: Hash } => branch.head !== null);
  const heads = await headsOf(live, verifier);
  await graph.reach(heads, async (hash) => {
    // Only where the sweep broke off there is one that it has not seen.
    const { bytes } = await verifier.objects.read("commit", hash);
    if (bytes !== null) graph.add(hash, linksOf(bytes));
  });
  await new Replay(verifier, graph, step).all(heads);
  const reached = {
    ...Object.fromEntries(KINDS.map((kind) => [kind, verifier.objects.reached(kind)])),
    commit: graph.reached,
  };
  const unreachable = KINDS.reduce(
    (sum, kind) => sum + Math.max(0, counts[kind] - (reached as Usage["counts"])[kind]),
    0,
  );
  return report(verifier, live.length, unreachable);
}

function report({ objects, findings, commits, values }: Verifier, branches: number, unreachable: number): VerifyReport {
  return {
    counts: { branches, commits, nodes: objects.reached("node"), values },
    unreachable,
    bytes: objects.bytes,
    damaged: findings.count,
    damage: findings.list,
  };
}

/** The commits that branches point to; a branch that points nowhere is noted. */
async function headsOf(branches: readonly { name: string; head: Hash }[], verifier: Verifier): Promise<Hash[]> {
  const heads: Hash[] = [];
  for (const { name, head } of branches) {
    const standing = await verifier.objects.standing("commit", head);
    if (standing === "good") heads.push(head);
    else if (standing !== "missing") verifier.findings.note(flawOf("commit", head, standing), head);
    else {
      const message = `the branch "${name}" points to a commit that is not here`;
      verifier.findings.note(flaw("branch", head, "missing", message), head);
    }
  }
  return heads;
}

/** Goes through the commits below the heads in an order in which parents come first. */
class Replay {
  readonly #verifier: Verifier;
  readonly #graph: CommitGraph;
  readonly #step: Step;

  constructor(verifier: Verifier, graph: CommitGraph, step: Step) {
    this.#verifier = verifier;
    this.#graph = graph;
    this.#step = step;
  }

  async all(heads: readonly Hash[]): Promise<void> {
    const graph = this.#graph;
    for (let left = graph.reached; left > 0; left = graph.reached - graph.done) {
      const before = graph.done;
      await this.#pass();
      if (graph.done - before < WORTH_A_PASS * left) break;
    }
    for (const head of heads) await this.#below(head);
  }

  /** All commits as they lie: nearly always, a commit lies behind its parents. */
  async #pass(): Promise<void> {
    try {
      for await (const batch of sweepObjects(this.#verifier.objects.reader, "commit")) {
        for (const { hash, bytes } of batch) {
          const index = this.#graph.due(hash);
          if (index >= 0 && this.#graph.isReady(index)) await this.#one(index, hash, bytes);
        }
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
  }

  /** What is left below a commit, each read by its hash. */
  async #below(head: Hash): Promise<void> {
    const open: { readonly hash: Hash; links: Hash[] | null }[] = [{ hash: head, links: null }];
    for (let step = open.at(-1); step !== undefined; step = open.at(-1)) {
      const next = step.links?.pop();
      if (next !== undefined) {
        open.push({ hash: next, links: null });
        continue;
      }
      const index = this.#graph.due(step.hash);
      const bytes = index < 0 ? null : (await this.#verifier.objects.read("commit", step.hash)).bytes;
      if (bytes !== null && step.links === null) {
        const { parents, adopts } = linksOf(bytes);
        step.links = [...parents, ...(adopts === null ? [] : [adopts])];
        continue;
      }
      open.pop();
      if (bytes !== null) await this.#one(index, step.hash, bytes);
    }
  }

  async #one(index: number, hash: Hash, bytes: Uint8Array): Promise<void> {
    const commit = this.#verifier.decode(hash, bytes);
    let links: Links;
    let state;
    if (commit instanceof Lost) [links, state] = [linksOf(bytes), commit];
    else [links, state] = [linksOfCommit(commit), await this.#verifier.check(hash, commit)];
    const { needed, released } = this.#graph.finish(index, links);
    for (const base of released) this.#verifier.release(base);
    if (needed) this.#verifier.keep(hash, state);
    const pause = this.#step(1);
    if (pause !== undefined) await pause;
  }
}
