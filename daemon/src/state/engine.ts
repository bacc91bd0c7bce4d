import {
  type AgentName,
  type BranchId,
  type BranchName,
  type Changes,
  type Commit,
  type Contract,
  type DeviceId,
  encodeSnapshot,
  encodeTreeNode,
  type Hash,
  hashSnapshot,
  type Key,
  LIMITS,
  MAIN,
  makeProof,
  type Proof,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Kind, ObjectStorage, ReflogEntry, StoredBranch, StoredObject, Usage } from "../storage/object-storage.ts";
import { commitsBetween } from "./ancestry.ts";
import type { Exchange, Integrated, ReadCommit, Space, TheirBranch } from "./api.ts";
import { BranchTable } from "./branch-table.ts";
import type { LiveBranch } from "./draft.ts";
import { Heads } from "./heads.ts";
import { type HistoryEntry, keyHistory } from "./key-history.ts";
import { Integrator } from "./integrate.ts";
import { resolveCommit, walkBack } from "./log.ts";
import {
  deleteBranch,
  fork,
  merge,
  type MergeReply,
  rewind,
  setContract,
  write,
  type WriteReply,
  type WriteRequest,
} from "./mutations.ts";
import { Objects, valueKind } from "./objects.ts";
import { pathTo } from "./prove.ts";
import { Receiver } from "./receive.ts";
import { type Source, StoredSource } from "./source.ts";
import type { VerifyReport, VerifyTask } from "./verify/run-verify.ts";
import { type VerifyWatch, Verification } from "./verify/verification.ts";
import { StateView } from "./view.ts";
import { type DurableMove, Writer } from "./writer.ts";

export interface EngineOptions {
  readonly agent: AgentName;
  readonly storage: ObjectStorage;
  /** This home's id; asked anew for each commit, since a home that was copied takes another. */
  readonly device: () => DeviceId;
  readonly now?: () => Date;
}

/** How often forgotten idempotency ids are swept out, in milliseconds. */
const SWEEP = 60 * 60 * 1000;

/** One agent's versioned state over its object storage. */
export class StateEngine implements Exchange {
  readonly agent: AgentName;
  readonly #storage: ObjectStorage;
  readonly #objects: Objects;
  readonly #heads: Heads;
  readonly #source: Source;
  readonly #writer: Writer;
  readonly #listeners = new Set<(moves: readonly DurableMove[]) => void>();
  readonly #verification: Verification;
  readonly #sweep: NodeJS.Timeout;
  readonly #now: () => Date;

  private constructor(options: EngineOptions, branches: readonly StoredBranch[]) {
    const { agent, storage, device, now = () => new Date() } = options;
    this.agent = agent;
    this.#storage = storage;
    this.#now = now;
    this.#objects = new Objects(storage);
    this.#verification = new Verification(storage);
    this.#heads = new Heads(this.#objects);
    this.#source = new StoredSource(this.#objects, this.#heads);
    this.#writer = new Writer({
      storage,
      source: this.#source,
      committer: { agent, device, now },
      branches: new BranchTable(branches),
      onDurable: (moves) => {
        for (const listener of this.#listeners) {
          try {
            listener(moves);
          } catch (error) {
            // The write is durable and will be answered; whoever listens has a mistake to mend.
            process.emitWarning(error instanceof Error ? error : String(error));
          }
        }
      },
    });
    this.#sweep = setInterval(() => void this.#dropReplies(), SWEEP).unref();
  }

  /** Opens what is stored; an empty storage gets its first commits with `setContract` or from `receive`. */
  static async open(options: EngineOptions): Promise<StateEngine> {
    return new StateEngine(options, await options.storage.branches());
  }

  get uri(): string {
    return this.#storage.uri;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    await Promise.all([this.#writer.close(), this.#verification.close()]);
    await this.#storage.close();
  }

  /** Called after each transaction with the moves that it made durable. Returns the way to stop it. */
  onMoves(listener: (moves: readonly DurableMove[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // Reads: durable state only.

  branches(): readonly StoredBranch[] {
    return this.#writer.branches.all();
  }

  liveBranches(): readonly LiveBranch[] {
    return this.#writer.branches.live();
  }

  /** @throws not_found */
  branch(name: BranchName): LiveBranch {
    return this.#writer.branches.required(name);
  }

  /** A commit by a branch's name, a hash or a unique prefix. @throws not_found, invalid */
  async resolve(ref: string): Promise<Hash> {
    const branch = this.#writer.branches.byName(ref);
    if (branch !== undefined) return branch.head;
    if (!/^[0-9a-f]{4,64}$/.test(ref)) {
      throw new VlinderError("not_found", `there is no branch or commit "${ref}"`, {
        details: { ref },
        remedy: "`vlinder branch list` and `vlinder log` show what there is; a commit is 4 hex digits or more",
      });
    }
    return await resolveCommit(
      ref,
      (hash) => this.#objects.findCommit(hash),
      (prefix) => this.#commitsWithPrefix(prefix),
    );
  }

  /** The state that a read asks for: a past commit, or a branch's head. */
  async stateOf(branch: BranchName = MAIN, at?: string): Promise<StateView> {
    if (at !== undefined) return await this.view(await this.resolve(at));
    const { id, head } = this.branch(branch);
    const known = this.#writer.durableHead(id);
    return new StateView(known?.commit === head ? known : await this.#heads.at(head), this.#objects);
  }

  async view(commit: Hash): Promise<StateView> {
    return new StateView(await this.#heads.at(commit), this.#objects);
  }

  commit(hash: Hash): Promise<Commit> {
    return this.#objects.commit(hash);
  }

  changesOf(commit: Commit): Promise<Changes> {
    return this.#objects.changesOf(commit);
  }

  value(hash: Hash, size: number): Promise<Uint8Array | null> {
    return this.#objects.value(hash, size);
  }

  /** The value's bytes. @throws internal, when the storage has lost them */
  requiredValue(hash: Hash, size: number): Promise<Uint8Array> {
    return this.#objects.requiredValue(hash, size);
  }

  async contract(): Promise<Contract | null> {
    if (this.#writer.branches.byName(MAIN) === undefined) return null;
    return await (await this.stateOf()).contract();
  }

  /** Newest first. */
  log(from: Hash): AsyncGenerator<{ hash: Hash; commit: Commit }> {
    return walkBack(this.#source, from);
  }

  /** Every commit that changed a key, newest first. */
  history(key: Key, from: Hash): AsyncGenerator<HistoryEntry> {
    return keyHistory(this.#source, key, from);
  }

  reflog(branch: BranchName | undefined, limit: number): Promise<ReflogEntry[]> {
    return this.#storage.reflog(branch === undefined ? null : this.branch(branch).id, limit);
  }

  usage(): Promise<Usage> {
    return this.#storage.usage();
  }

  /** Reads and hashes all that the branches reach, or one state; beside everything else. @throws unavailable */
  verify(at: Hash | null = null, watch: VerifyWatch = {}): Promise<VerifyReport> {
    const begin = async (): Promise<VerifyTask> => {
      const { counts } = await this.usage();
      return { at, counts, branches: this.branches() };
    };
    return this.#verification.run(at, begin, watch);
  }

  /** A proof of what a key had in the state of a commit, for `checkProof`. */
  async prove(at: Hash, space: Space, key: Key): Promise<Proof> {
    const { nodes, snapshot } = await this.#heads.at(at);
    const path = await pathTo(nodes, snapshot[space], key);
    return makeProof({ key, space }, await this.#objects.commitBytes(at), snapshot, path);
  }

  // Writes: each is one request, answered when it is durable.

  write(request: WriteRequest, id?: string): Promise<WriteReply> {
    const { ops, ...rest } = request;
    const asked = ops.map(({ key, value, expect }) => [
      key,
      value?.hash ?? null,
      expect ?? false,
      expect === undefined,
    ]);
    return this.#writer.write((draft) => write(draft, request), once(id, { ...rest, asked }));
  }

  setContract(contract: Contract): Promise<{ state: Hash; changed: boolean }> {
    return this.#writer.write((draft) => setContract(draft, contract));
  }

  // `asked` is how the request named the commit: by the time of a retry a branch's name may mean another one.

  fork(name: BranchName, from: Hash, id?: string, asked: string = from): Promise<{ branch: BranchId; state: Hash }> {
    return this.#writer.write((draft) => fork(draft, name, from), once(id, { fork: name, from: asked }));
  }

  rewind(branch: BranchName, to: Hash, id?: string, asked: string = to): Promise<{ state: Hash }> {
    return this.#writer.write((draft) => rewind(draft, branch, to), once(id, { rewind: branch, to: asked }));
  }

  merge(into: BranchName, from: Hash, id?: string, asked: string = from): Promise<MergeReply> {
    return this.#writer.write((draft) => merge(draft, into, from), once(id, { merge: into, from: asked }));
  }

  deleteBranch(name: BranchName): Promise<{ state: Hash }> {
    return this.#writer.write((draft) => Promise.resolve(deleteBranch(draft, name)));
  }

  // Exchange with other machines.

  has(commits: readonly Hash[]): Promise<boolean[]> {
    return Promise.all(commits.map(async (hash) => (await this.#objects.findCommit(hash)) !== null));
  }

  async *newCommits(heads: readonly Hash[], bases: readonly Hash[]): AsyncGenerator<ReadCommit> {
    const order = await commitsBetween((hash) => this.#objects.findCommit(hash), heads, bases);
    for (const hash of order) {
      yield { hash, commit: await this.#objects.commit(hash), bytes: await this.#objects.commitBytes(hash) };
    }
  }

  async *objectsOf(commit: Commit): AsyncGenerator<{ kind: Kind; hash: Hash }> {
    if (typeof commit.changes === "string") yield { kind: "changes", hash: commit.changes };
    const { contract, kv = [], vectors = [] } = await this.#objects.changesOf(commit);
    if (contract !== undefined) yield { kind: "value", hash: contract };
    for (const [hash, size] of Object.values(commit.event.values ?? {})) yield* this.#objectsOfValue(hash, size);
    for (const [, hash, size] of [...kv, ...vectors]) if (hash !== null) yield* this.#objectsOfValue(hash, size);
  }

  async *#objectsOfValue(hash: Hash, size: number): AsyncGenerator<{ kind: Kind; hash: Hash }> {
    yield { kind: valueKind(size), hash };
    if (valueKind(size) === "list") yield* this.#objects.partsOf(hash);
  }

  async *treeObjects(commit: Hash): AsyncGenerator<StoredObject> {
    const { snapshot, nodes } = await this.#heads.at(commit);
    const seen = new Set<Hash>();
    // What is not stored lies in the state's layers, over nodes that are.
    const open = [snapshot.kv, snapshot.vectors].filter((root) => root !== null);
    for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
      if (seen.has(hash)) continue;
      seen.add(hash);
      const node = await nodes.node(hash);
      yield { kind: "node", hash, bytes: encodeTreeNode(node) };
      if (node.level > 0) open.push(...node.hashes);
    }
    yield { kind: "snapshot", hash: hashSnapshot(snapshot), bytes: Buffer.from(encodeSnapshot(snapshot)) };
  }

  read(kind: Kind, hashes: readonly Hash[]): Promise<(Uint8Array | null)[]> {
    return this.#storage.read(kind, hashes);
  }

  receive(objects: readonly StoredObject[]): Promise<{ commits: number; objects: number }> {
    return new Receiver(this.agent, this.#storage, this.#objects, this.#heads).receive(objects);
  }

  async integrate(theirs: readonly TheirBranch[]): Promise<Integrated[]> {
    const byId = new Map<Hash, TheirBranch[]>();
    for (const branch of theirs) byId.set(branch.id, [...(byId.get(branch.id) ?? []), branch]);
    const results: Integrated[] = [];
    for (const branches of byId.values()) {
      results.push(await this.#writer.write((draft) => new Integrator(draft).integrate(branches)));
    }
    return results;
  }

  async #commitsWithPrefix(prefix: string): Promise<Hash[]> {
    const low = BigInt(`0x${prefix.padEnd(64, "0")}`);
    const after = low === 0n ? null : ((low - 1n).toString(16).padStart(64, "0") as Hash);
    const found = await this.#storage.scan("commit", after, 11);
    return found.map(({ hash }) => hash).filter((hash) => hash.startsWith(prefix));
  }

  async #dropReplies(): Promise<void> {
    try {
      await this.#storage.dropReplies(this.#now().getTime() - LIMITS.replyMemory);
    } catch {
      // The storage is away; old ids cost only space, and the next sweep comes in an hour.
    }
  }
}

/** What makes a request the same as another one with its id. */
function once(id: string | undefined, request: object): { id: string; request: Hash } | undefined {
  return id === undefined ? undefined : { id, request: sha256(JSON.stringify(request)) };
}
