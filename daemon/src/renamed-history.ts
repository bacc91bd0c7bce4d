import {
  type AgentName,
  type Changes,
  type Commit,
  decodeContract,
  encodeChanges,
  encodeCommit,
  encodeContract,
  type Hash,
  hashSnapshot,
  sha256,
} from "@vlinder/protocol";
import type { Exchange, ReadCommit, TheirBranch } from "./state/api.ts";
import type { Kind, StoredObject } from "./storage/object-storage.ts";

/** Objects handed over at once: by number, and by bytes. */
const BATCH = 2000;
const BATCH_BYTES = 16 << 20;

/**
 * Writes the history of one agent anew under another name, into `to`, which checks all of it as it does with what comes from
 * a bucket. The name is in every commit and in the contract, so that these, and they alone, get other hashes; values and trees stay.
 * Returns the branches as they are then.
 */
export async function renameHistory(
  from: Exchange,
  branches: readonly TheirBranch[],
  name: AgentName,
  to: Exchange,
): Promise<TheirBranch[]> {
  const renamer = new Renamer(from, name, to);
  const deleted = branches.flatMap((branch) => branch.deleted);
  const here = await from.has(deleted);
  const heads = [...branches.flatMap(({ head }) => head ?? []), ...deleted.filter((_, i) => here[i])];
  // What was erased is missing before the commit that says so.
  for await (const commit of from.newCommits(heads, [])) await renamer.foresee(commit);
  for await (const commit of from.newCommits(heads, [])) await renamer.add(commit);
  await renamer.flush();
  return branches
    .map((branch) => ({
      ...branch,
      id: renamer.nameOf(branch.id),
      head: branch.head === null ? null : renamer.nameOf(branch.head),
      deleted: branch.deleted.map((hash) => renamer.nameOf(hash)).toSorted(),
    }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

class Renamer {
  readonly #from: Exchange;
  readonly #name: AgentName;
  readonly #to: Exchange;
  /** Commits and contracts that have another hash now. */
  readonly #names = new Map<Hash, Hash>();
  readonly #erasures: StoredObject[] = [];
  #batch: StoredObject[] = [];
  #bytes = 0;

  constructor(from: Exchange, name: AgentName, to: Exchange) {
    this.#from = from;
    this.#name = name;
    this.#to = to;
  }

  /** What is not a commit that was renamed keeps its name: a fork's id is no commit's hash, main's is the first one's. */
  nameOf(hash: Hash): Hash {
    return this.#names.get(hash) ?? hash;
  }

  async foresee({ hash, commit, bytes }: ReadCommit): Promise<void> {
    if (commit.event.kind !== "erase") return;
    this.#erasures.push({ kind: "commit", hash, bytes });
    for await (const ref of this.#from.objectsOf(commit)) {
      const [found] = await this.#from.read(ref.kind, [ref.hash]);
      if (found != null) this.#erasures.push({ ...ref, bytes: found });
    }
  }

  async add({ hash, commit }: ReadCommit): Promise<void> {
    if (this.#names.has(hash)) return;
    await this.#addCovered(commit.event);
    const changes = await this.#from.changesOf(commit);
    await this.#addObjects(commit);
    if (changes.contract !== undefined) await this.#addContract(changes.contract);
    const renamed = this.#renamed(commit, changes, (await this.#from.view(hash)).snapshot);
    const bytes = Buffer.from(encodeCommit(renamed), "utf8");
    const name = sha256(bytes);
    this.#names.set(hash, name);
    this.#push({ kind: "commit", hash: name, bytes });
    if (this.#batch.length >= BATCH || this.#bytes >= BATCH_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#bytes = 0;
    await this.#to.receive(batch, this.#erasures);
  }

  /** The values that a commit brings, parts before what lists them. */
  async #addObjects(commit: Commit): Promise<void> {
    const refs: { kind: Kind; hash: Hash }[] = [];
    for await (const ref of this.#from.objectsOf(commit)) if (ref.kind !== "changes") refs.unshift(ref);
    for (const { kind, hash } of refs) {
      const [bytes] = await this.#from.read(kind, [hash]);
      if (bytes != null) this.#push({ kind, hash, bytes });
    }
  }

  async #addContract(hash: Hash): Promise<void> {
    const [bytes] = await this.#from.read("value", [hash]);
    if (bytes == null) return;
    const renamed = encodeContract({ ...decodeContract(bytes), name: this.#name });
    this.#names.set(hash, sha256(renamed));
    this.#push({ kind: "value", hash: sha256(renamed), bytes: renamed });
  }

  #renamed(commit: Commit, changes: Changes, snapshot: Parameters<typeof hashSnapshot>[0]): Commit {
    const contract = changes.contract === undefined ? undefined : this.nameOf(changes.contract);
    const renamedChanges = { ...changes, ...(contract === undefined ? {} : { contract }) };
    if (typeof commit.changes === "string") {
      const bytes = Buffer.from(encodeChanges(renamedChanges), "utf8");
      this.#push({ kind: "changes", hash: sha256(bytes), bytes });
    }
    return {
      ...commit,
      agent: this.#name,
      event: this.#renamedEvent(commit.event),
      parents: commit.parents.map((parent) => this.nameOf(parent)),
      snapshot: hashSnapshot({
        ...snapshot,
        contract: snapshot.contract === null ? null : this.nameOf(snapshot.contract),
      }),
      ...(commit.branch === undefined ? {} : { branch: this.nameOf(commit.branch) }),
      ...(commit.adopts === undefined ? {} : { adopts: this.nameOf(commit.adopts) }),
      ...(commit.changes === undefined
        ? {}
        : { changes: typeof commit.changes === "string" ? sha256(encodeChanges(renamedChanges)) : renamedChanges }),
    };
  }

  /** An erasure names heads that are no parents of it: they need their names first. */
  async #addCovered({ kind, info }: Commit["event"]): Promise<void> {
    const heads = kind === "erase" && Array.isArray(info?.["heads"]) ? (info["heads"] as Hash[]) : [];
    const left = heads.filter((head) => !this.#names.has(head));
    const here = await this.#from.has(left);
    const covered = left.filter((_, i) => here[i]);
    if (covered.length === 0) return;
    for await (const commit of this.#from.newCommits(covered, [])) await this.add(commit);
  }

  /** A choice names a parent, an erasure the heads that it covers. */
  #renamedEvent(event: Commit["event"]): Commit["event"] {
    const { prefer, heads } = event.info ?? {};
    if (event.kind === "merge" && typeof prefer === "string") {
      return { ...event, info: { ...event.info, prefer: this.nameOf(prefer as Hash) } };
    }
    if (event.kind !== "erase" || !Array.isArray(heads)) return event;
    return { ...event, info: { ...event.info, heads: heads.map((head) => this.nameOf(head as Hash)).toSorted() } };
  }

  #push(object: StoredObject): void {
    this.#batch.push(object);
    this.#bytes += object.bytes.length;
  }
}
