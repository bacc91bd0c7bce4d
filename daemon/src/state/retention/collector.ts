import type { Hash, Progress } from "@vlinder/protocol";
import type { Kind, StoredBranch } from "../../storage/object-storage.ts";
import { treesToStore } from "../head.ts";
import { PackedNode } from "../tree/packed-node.ts";
import { UPLOADED } from "../uploads.ts";
import { CommitTable, FLAG, parsed } from "./commit-table.ts";
import type { Ground } from "./ground.ts";
import { type Kept, keptCommits } from "./keep.ts";
import { Marks } from "./marks.ts";
import { policyOf } from "./policy.ts";
import { type Drop, Quarantine } from "./quarantine.ts";
import type { Touched } from "./watch.ts";

export interface CollectReport {
  readonly commits: {
    readonly all: number;
    /** Those that can't be read any more, after it. */
    readonly pruned: number;
    /** Of these, the ones that it drops. */
    readonly dropped: number;
  };
  readonly objects: number;
  /** Bytes of these objects. */
  readonly bytes: number;
  /** What it put aside; null for a dry run, and when there was nothing to drop. */
  readonly drop: Drop | null;
  /** Bytes that the files shrank by. */
  readonly reclaimed: number;
  readonly notes: readonly string[];
}

export type OnProgress = (progress: Progress) => void;

/** In the order in which they are removed: what is left of a broken off collection is reached from nowhere. */
const SWEPT: readonly Kind[] = ["snapshot", "node", "list", "value", "chunk"];
/** Objects that are moved in one step, and their bytes: writers wait for a step at most. */
const STEP = { objects: 500, bytes: 4 << 20 };
const READ = 64;
export const RECLAIM_STEP = 4 << 20;

/**
 * One collection: marks what is kept, then drops the rest, aside from the agent's work. A commit's
 * state is dropped when retention does not keep it; commits and their change lists stay.
 *
 * What makes it safe beside writes: from before the marks are set until the end, everything that is
 * stored, and each commit whose state is built on, is noted (Watch). That commits are pruned is made
 * known while no write is under way, after a look at what was built on since: from then on nobody
 * can build on them. Then objects go in small steps, each again while no write is under way, and
 * each without those that were stored since.
 */
export class Collector {
  readonly #ground: Ground;
  readonly #run: boolean;
  readonly #progress: OnProgress;
  readonly #marks: Marks;
  readonly #notes: string[] = [];
  #quarantine: Quarantine | null = null;

  constructor(ground: Ground, run: boolean, progress: OnProgress) {
    this.#ground = ground;
    this.#run = run;
    this.#progress = progress;
    this.#marks = new Marks(ground.storage);
  }

  async collect(): Promise<CollectReport> {
    const { watch, received, alone, branches, now } = this.#ground;
    const touched = watch.start();
    // Before the heads: what is written behind them is younger, however long the machine sleeps meanwhile.
    const time = now().getTime();
    try {
      await received();
      const heads = await alone(async () => {
        // Behind what was stored until now; what is stored from now on is noted.
        PackedNode.collecting();
        return branches();
      });
      return await this.#collect(touched, heads, time);
    } finally {
      watch.stop();
      await this.#quarantine?.storage.close();
    }
  }

  async #collect(touched: Touched, branches: readonly StoredBranch[], time: number): Promise<CollectReport> {
    const { storage, pruned, uploads } = this.#ground;
    for (const hash of uploads.reached()) for (const kind of UPLOADED) this.#marks.mark(kind, hash);
    const table = await CommitTable.read(storage, (done) =>
      this.#progress({ what: "reading history", done, total: null, unit: "commits" }),
    );
    const kept = await this.#kept(table, branches, time);
    const dropped = new Set<number>();
    for (let number = 0; number < table.size; number++) {
      if (pruned.covers(table.hash(number))) kept[number] = 0;
      else if (kept[number] === 0) dropped.add(number);
    }
    await this.#mark(table, kept);
    if (this.#run && dropped.size > 0) await this.#prune(table, kept, touched, dropped);
    const swept = await this.#sweep(touched);
    const commits = {
      all: table.size,
      pruned: this.#run ? pruned.count : pruned.count + dropped.size,
      dropped: dropped.size,
    };
    const drop = (await this.#quarantine?.end({ commits: dropped.size, ...swept })) ?? null;
    const reclaimed = this.#run ? await this.#reclaim() : 0;
    return { commits, ...swept, drop, reclaimed, notes: this.#notes };
  }

  async #kept(table: CommitTable, branches: readonly StoredBranch[], time: number): Promise<Kept> {
    const { storage, contract, roots } = this.#ground;
    const policy = policyOf(await contract());
    if (policy.unknown !== null) this.#notes.push(policy.unknown);
    const others = policy.states === null ? [] : await roots().heads();
    const absent = others.filter((head) => table.numberOf(head) < 0);
    if (absent.length > 0) {
      this.#notes.push(
        `${absent.length} heads of other machines are not here yet: no state is dropped, as it may be needed to take ` +
          "them in; run `vlinder sync pull` first",
      );
      return new Uint8Array(table.size).fill(1);
    }
    return keptCommits(storage, table, policy, { branches, others }, time);
  }

  async #mark(table: CommitTable, kept: Kept): Promise<void> {
    let batch: number[] = [];
    for (let number = 0; number < table.size; number++) {
      if (kept[number] === 1 || table.has(number, FLAG.erases | FLAG.effect)) batch.push(number);
      if (batch.length < READ && number < table.size - 1) continue;
      await this.#markCommits(table, kept, batch);
      this.#progress({ what: "marking", done: number + 1, total: table.size, unit: "commits" });
      batch = [];
    }
  }

  async #markCommits(table: CommitTable, kept: Kept, numbers: readonly number[]): Promise<void> {
    const { storage } = this.#ground;
    const hashes = numbers.map((number) => table.hash(number));
    const bytes = await storage.read("commit", hashes);
    const commits = hashes.map((hash, i) => parsed(hash, bytes[i] as Uint8Array));
    const stored = await storage.read(
      "snapshot",
      commits.map(({ snapshot }) => snapshot),
    );
    for (const [i, commit] of commits.entries()) {
      const number = numbers[i] as number;
      if (kept[number] === 0) {
        // What was erased is judged from the lists for ever; and what was done once is not done again, however late.
        for (const [hash, size] of Object.values(commit.event.values ?? {})) await this.#marks.value(hash, size);
        continue;
      }
      await this.#marks.commit(commit);
      const first = table.first(number);
      const snapshot = stored[i] ?? null;
      if (snapshot !== null) {
        this.#marks.mark("snapshot", commit.snapshot);
        const roots = JSON.parse(Buffer.from(snapshot).toString("utf8")) as Record<string, Hash | null>;
        if (roots["contract"] != null) this.#marks.mark("value", roots["contract"]);
        for (const space of ["kv", "vectors"]) await this.#marks.tree(roots[space] ?? null);
      } else if (first >= 0 && kept[first] === 0) {
        await this.#storeTrees(table.hash(number));
      }
    }
  }

  /** A state that is computed from one that is dropped gets trees of its own first. */
  async #storeTrees(commit: Hash): Promise<void> {
    const { heads, storage } = this.#ground;
    const { snapshot, nodes } = await heads.at(commit);
    if (snapshot.contract !== null) this.#marks.mark("value", snapshot.contract);
    await this.#marks.treeOf(nodes, snapshot.kv);
    await this.#marks.treeOf(nodes, snapshot.vectors);
    const { objects } = treesToStore(snapshot, nodes.layers);
    for (const { kind, hash } of objects) this.#marks.mark(kind, hash);
    if (this.#run) await storage.apply({ objects, branches: [], replies: [] });
  }

  /** Makes it known, for ever, that these states are gone, but for those that somebody builds on: they are taken out. */
  async #prune(table: CommitTable, kept: Kept, touched: Touched, dropped: Set<number>): Promise<void> {
    const { storage, pruned, alone, shelf, now } = this.#ground;
    const hashes = await table.sorted(dropped);
    this.#quarantine = await Quarantine.begin(shelf, now(), hashes);
    let note = pruned.with(hashes);
    await alone(async () => {
      for (;;) {
        const needed = [...touched.commits].map((hash) => table.numberOf(hash)).filter((number) => dropped.has(number));
        if (needed.length === 0) break;
        for (const number of needed) {
          kept[number] = 1;
          dropped.delete(number);
        }
        for (const number of needed) await this.#markCommits(table, kept, [number]);
        note = pruned.with(await table.sorted(dropped));
      }
      await pruned.become(note, storage);
    });
  }

  async #sweep(touched: Touched): Promise<{ objects: number; bytes: number }> {
    const { storage } = this.#ground;
    const total = { objects: 0, bytes: 0 };
    for (const kind of SWEPT) {
      for await (const page of storage.names(kind)) {
        const dead = page.filter(({ hash }) => !this.#marks.has(kind, hash) && !touched.has(kind, hash));
        for (const step of steps(dead)) {
          const gone = this.#run ? await this.#move(kind, step) : new Set(step.map(({ hash }) => hash));
          total.objects += gone.size;
          for (const { hash, size } of step) if (gone.has(hash)) total.bytes += size;
        }
        if (dead.length > 0) {
          this.#progress({ what: "collecting", done: total.objects, total: null, unit: "objects" });
        }
        // Storage in memory answers without ever letting others in between.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    return total;
  }

  /** From the agent's storage to the quarantine; returns those that nobody had stored again meanwhile. */
  async #move(kind: Kind, names: readonly { readonly hash: Hash }[]): Promise<Set<Hash>> {
    const { storage, objects, watch, alone, shelf, now } = this.#ground;
    const hashes = names.map(({ hash }) => hash);
    this.#quarantine ??= await Quarantine.begin(shelf, now(), Buffer.alloc(0));
    const bytes = await storage.read(kind, hashes);
    await this.#quarantine.take(
      hashes.flatMap((hash, i) => (bytes[i] == null ? [] : [{ kind, hash, bytes: bytes[i] }])),
    );
    return alone(async () => {
      const gone = watch.condemn(kind, hashes);
      try {
        await storage.remove(kind, gone);
        objects.forget(kind, gone);
        return new Set(gone);
      } finally {
        watch.pardon();
      }
    });
  }

  async #reclaim(): Promise<number> {
    const { storage } = this.#ground;
    let total = 0;
    for (let step = await storage.reclaim(RECLAIM_STEP); step > 0; step = await storage.reclaim(RECLAIM_STEP)) {
      total += step;
      this.#progress({ what: "giving space back", done: total, total: null, unit: "bytes" });
    }
    return total;
  }
}

function* steps<T extends { readonly size: number }>(names: readonly T[]): Generator<T[]> {
  let step: T[] = [];
  let bytes = 0;
  for (const name of names) {
    if (step.length > 0 && (step.length === STEP.objects || bytes + name.size > STEP.bytes)) {
      yield step;
      step = [];
      bytes = 0;
    }
    step.push(name);
    bytes += name.size;
  }
  if (step.length > 0) yield step;
}
