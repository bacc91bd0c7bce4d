import {
  type AdminReplies,
  type AgentName,
  type BranchName,
  type Contract,
  type Hash,
  type Key,
  MAIN,
  type Progress,
  sha256,
} from "@vlinder/protocol";
import { differences, type Entries, entriesOf } from "./history.ts";
import { bringWhole } from "./bring-whole.ts";
import type { Home } from "../registry/home.ts";
import type { Registry } from "../registry/registry.ts";
import { ImportFindings } from "./findings.ts";
import type { StateEngine } from "../state/engine.ts";
import type { Op } from "../state/mutations.ts";
import { type ForeignCommit, foreignHash, VlinderCliSource } from "../storage/foreign/vlindercli-source.ts";
import type { VectorIndex } from "../vectors/vector-index.ts";

export interface VlinderCliImport {
  readonly agent: AgentName;
  /** Absolute: a `state.db`. */
  readonly path: string;
  readonly progress: (progress: Progress) => void;
}

type Reply = AdminReplies["agents.import_vlindercli"];

/**
 * Brings the history of a VlinderCLI `state.db` as a new agent: each commit becomes one of ours, in the order of parents, with
 * the name of the original; values keep their SHA-256. All or nothing; the file is only read. What can't be
 * mapped is counted and said. @throws conflict: there is such an agent; what `VlinderCliSource.open` throws
 */
export function importVlinderCli(
  agents: Registry<StateEngine, VectorIndex>,
  home: Home,
  { agent, path, progress }: VlinderCliImport,
): Promise<Reply> {
  const open = (): Promise<VlinderCliSource> => VlinderCliSource.open(path, home.run);
  return bringWhole(agents, agent, open, (engine, source) => new Importer(agent, source, engine, progress).run());
}

/** A commit to go on from: what comes after it on a branch of its own. */
interface Fork {
  readonly commit: ForeignCommit;
  /** Our commit for its parent. */
  readonly from: Hash;
}

/** Commits that are on their way to the disk together. */
const IN_FLIGHT = 64;
const FLIGHT_BYTES = 16 << 20;

class Importer {
  readonly #agent: AgentName;
  readonly #source: VlinderCliSource;
  readonly #engine: StateEngine;
  readonly #progress: (progress: Progress) => void;
  readonly #findings = new ImportFindings();
  readonly #branches: { name: string; state: Hash; original: string }[] = [];
  readonly #values = { count: 0, bytes: 0 };
  readonly #total: number;
  #seen = 0;
  #written = 0;

  constructor(agent: AgentName, source: VlinderCliSource, engine: StateEngine, progress: (one: Progress) => void) {
    this.#agent = agent;
    this.#source = source;
    this.#engine = engine;
    this.#progress = progress;
    this.#total = source.counts().commits;
  }

  async run(): Promise<Reply> {
    const { tables, columns } = this.#source.unknown;
    for (const table of tables) this.#findings.add("unknown table", table);
    for (const column of columns) this.#findings.add("unknown column", column);
    const contract: Contract = { v: 1, name: this.#agent, merge: { rules: 1, policies: {} } };
    const { state: empty } = await this.#engine.setContract(contract);

    this.#source.markMainLine();
    const forks: Fork[] = [];
    for (const root of this.#source.roots()) {
      if (root.parent !== "") this.#findings.add("missing parent", root.hash);
      forks.push({ commit: root, from: empty });
    }
    // The main line last, so that it is taken first: the others fork from it.
    forks.sort((a, b) => Number(this.#isMain(a)) - Number(this.#isMain(b)));
    for (let fork = forks.pop(); fork !== undefined; fork = forks.pop()) forks.push(...(await this.#line(fork)));

    const left = this.#total - this.#seen;
    this.#findings.addCount("commit that nothing leads to", left);
    const unreached = this.#source.unreached();
    this.#findings.addCount("value that no commit reaches", unreached.values);
    this.#findings.addCount("snapshot that no commit reaches", unreached.snapshots);
    return {
      agent: this.#agent,
      commits: this.#written,
      values: this.#values.count,
      bytes: this.#values.bytes,
      branches: this.#branches,
      findings: this.#findings.list(),
    };
  }

  #isMain({ commit }: Fork): boolean {
    return this.#source.isOnMainLine(commit.hash);
  }

  /** Takes a commit and its line of descent up to the last one; returns what forks off on the way. */
  async #line(fork: Fork): Promise<Fork[]> {
    const branch = this.#isMain(fork) ? MAIN : (`vlindercli/${fork.commit.hash.slice(0, 12)}` as BranchName);
    if (branch !== MAIN) await this.#engine.fork(branch, fork.from);
    const forks: Fork[] = [];
    const flight = new Flight(fork.from);
    let before = await this.#entriesAt(fork.from);
    let last = fork.commit.hash;
    for (let commit: ForeignCommit | undefined = fork.commit; commit !== undefined;) {
      before = await this.#take(commit, branch, before, flight);
      last = commit.hash;
      const children = this.#source.children(commit.hash);
      const next = children.find(({ hash }) => this.#source.isOnMainLine(hash)) ?? children.at(-1);
      if (children.length > 1) {
        const from = await flight.landed();
        for (const child of children) if (child !== next) forks.push({ commit: child, from });
      }
      commit = next;
    }
    this.#branches.push({ name: branch, state: await flight.landed(), original: last });
    return forks;
  }

  async #entriesAt(commit: Hash): Promise<Entries> {
    const entries = new Map<Key, string>();
    for await (const { key, hash } of (await this.#engine.view(commit)).entries("kv")) entries.set(key, hash);
    return entries;
  }

  /** Writes one commit; returns its entries. */
  async #take(commit: ForeignCommit, branch: BranchName, before: Entries, flight: Flight): Promise<Entries> {
    this.#seen++;
    if (this.#seen % 256 === 0 || this.#seen === this.#total) {
      const what = `importing ${this.#agent}`;
      this.#progress({ what, done: this.#seen, total: this.#total, unit: "commits" });
    }
    if (foreignHash(`${commit.snapshot}:${commit.parent}`) !== commit.hash) {
      this.#findings.add("commit of another hash", commit.hash);
    }
    const entries = entriesOf(this.#source, commit, this.#findings);
    if (entries === null) return before;
    const [after, ops] = this.#ops(before, entries);
    if (ops.length === 0) {
      this.#findings.add("commit without a change", commit.hash);
      return after;
    }
    const info = { vlindercli: { commit: commit.hash, snapshot: commit.snapshot } };
    const bytes = ops.reduce(
      (sum, { value }) => sum + (value !== null && "bytes" in value ? value.bytes.length : 0),
      0,
    );
    await flight.add(this.#engine.write({ space: "kv", kind: "kv.batch", branch, ops, info }), bytes);
    this.#written++;
    return after;
  }

  /** The changes to a snapshot's entries, and the entries without those whose value is missing. */
  #ops(before: Entries, entries: Entries): [Entries, Op[]] {
    const after = new Map(entries);
    const ops: Op[] = [];
    for (const [key, hash] of differences(before, entries)) {
      const value = hash === null ? null : this.#value(hash);
      if (value !== null) ops.push({ key, value });
      else if (before.has(key)) ops.push({ key, value: null });
      if (hash !== null && value === null) after.delete(key);
    }
    if (ops.length > 0) return [after, ops];
    // VlinderCLI makes a commit of a put that changes nothing; so do we, where there is something to put again.
    for (const [key, hash] of after) {
      const value = this.#value(hash);
      if (value !== null) return [after, [{ key, value }]];
    }
    return [after, []];
  }

  #value(name: string): { hash: Hash; bytes: Buffer } | null {
    const bytes = this.#source.value(name);
    const isNew = this.#source.reach(name);
    if (bytes === null) {
      if (isNew) this.#findings.add("missing value", name);
      return null;
    }
    const hash = sha256(bytes);
    if (isNew) {
      if (hash !== name) this.#findings.add("value of another hash", name);
      this.#values.count++;
      this.#values.bytes += bytes.length;
    }
    return { hash, bytes };
  }
}

/** Writes that follow each other on a branch, not awaited one by one. */
class Flight {
  #last: Promise<Hash>;
  #count = 0;
  #bytes = 0;

  constructor(from: Hash) {
    this.#last = Promise.resolve(from);
  }

  async add(write: Promise<{ readonly state: Hash }>, bytes: number): Promise<void> {
    const before = this.#last;
    this.#last = Promise.all([before, write]).then(([, { state }]) => state);
    // Whoever waits gets the failure; until then nobody may.
    this.#last.catch(() => null);
    this.#count++;
    this.#bytes += bytes;
    if (this.#count >= IN_FLIGHT || this.#bytes >= FLIGHT_BYTES) await this.landed();
  }

  /** The newest commit, when all are durable. @throws what a write failed with */
  async landed(): Promise<Hash> {
    const state = await this.#last;
    this.#count = 0;
    this.#bytes = 0;
    return state;
  }
}
