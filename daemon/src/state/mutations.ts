import { randomBytes } from "node:crypto";
import {
  type AgentName,
  type BranchName,
  type Change,
  CHUNKED_OVER,
  type Commit,
  type CommitEvent,
  type Contract,
  decodeContract,
  encodeContract,
  type EventKind,
  type Hash,
  hashCommit,
  hashSnapshot,
  invalid,
  type Key,
  keyText,
  MAIN,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import { isAncestor } from "./ancestry.ts";
import { andThen } from "./and-then.ts";
import type { Space } from "./api.ts";
import type { Draft, LiveBranch, Told } from "./draft.ts";
import type { Head } from "./head.ts";
import { Merger } from "./merge.ts";
import type { MergeConflict } from "./merge-conflict.ts";
import { getEntry } from "./tree/read.ts";

/** A value that a put brings along, or one that an upload has stored already. */
export type OpValue =
  | { readonly hash: Hash; readonly bytes: Uint8Array }
  | { readonly hash: Hash; readonly size: number };

/** One change that a request asks for. */
export interface Op {
  readonly key: Key;
  /** Null: delete. */
  readonly value: OpValue | null;
  /** The hash that the key must have now, null for "must not exist"; absent: anything. */
  readonly expect?: Hash | null;
}

export interface WriteRequest {
  readonly space: Space;
  readonly kind: EventKind;
  readonly branch: BranchName;
  readonly ops: readonly Op[];
  readonly session?: string;
  readonly turn?: string;
  /** For the event. */
  readonly info?: CommitEvent["info"];
  /** Components of the vectors that are put. */
  readonly dimension?: number;
}

export interface WriteReply {
  readonly state: Hash;
  /** For each operation: whether it changed something. Only a delete of what is not there does not. */
  readonly applied: readonly boolean[];
  /** The value's hash of each operation, where the request names uploads. */
  readonly hashes?: readonly (Hash | null)[];
}

/** Puts and deletes, all in one commit. @throws conflict, not_found, sealed, invalid, not_declared */
export function write(draft: Draft, request: WriteRequest): WriteReply | Promise<WriteReply> {
  const [op] = request.ops;
  if (op === undefined || request.ops.length > 1 || request.dimension !== undefined) return writeAll(draft, request);
  const branch = draft.writable(request.branch);
  return andThen(draft.head(branch), (head) => writeOne(draft, request, op, branch, head));
}

/** A single change without a look at the contract: what nearly all requests are, and without a promise where it can be. */
function writeOne(
  draft: Draft,
  request: WriteRequest,
  { key, value, expect }: Op,
  branch: LiveBranch,
  head: Head,
): WriteReply | Promise<WriteReply> {
  const { space } = request;
  const change = (): WriteReply | Promise<WriteReply> => {
    if (value !== null && "bytes" in value) draft.value(value.hash, value.bytes);
    const changed: Change = value === null ? [key, null, 0] : [key, value.hash, sizeOf(value)];
    const commit = draft.commit(branch, { [space]: [changed] }, told(request.kind, request));
    return andThen(commit, (next) => ({ state: next.commit, applied: [true] }));
  };
  if (expect === undefined && value !== null) return change();
  return andThen(getEntry(head.nodes, head.snapshot[space], key), (entry) => {
    const now = entry?.hash ?? null;
    if (expect !== undefined && expect !== now) throw expectFailed(key, expect, now, head.commit);
    return value === null && now === null ? { state: head.commit, applied: [false] } : change();
  });
}

async function writeAll(draft: Draft, request: WriteRequest): Promise<WriteReply> {
  const { space, ops } = request;
  let branch = draft.writable(request.branch);
  if (request.dimension !== undefined) branch = await fixDimension(draft, branch, request.dimension);
  const head = await draft.head(branch);
  const changes = new Map<Key, Change>();
  const applied: boolean[] = [];
  for (const { key, value, expect } of ops) {
    if (changes.has(key))
      throw invalid(`the key ${keyText(key)} is there twice`, { remedy: "change a key once in a batch" });
    if (expect !== undefined || value === null) {
      const now = (await getEntry(head.nodes, head.snapshot[space], key))?.hash ?? null;
      if (expect !== undefined && expect !== now) throw expectFailed(key, expect, now, head.commit);
      applied.push(value !== null || now !== null);
      if (value === null && now === null) continue;
    } else {
      applied.push(true);
    }
    changes.set(key, value === null ? [key, null, 0] : [key, value.hash, sizeOf(value)]);
  }
  if (changes.size === 0) return { state: head.commit, applied };
  for (const { value } of ops) if (value !== null && "bytes" in value) draft.value(value.hash, value.bytes);
  const list = [...changes.values()].sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const next = await draft.commit(branch, { [space]: list }, told(request.kind, request));
  return { state: next.commit, applied };
}

function sizeOf(value: OpValue): number {
  return "bytes" in value ? value.bytes.length : value.size;
}

function told(kind: EventKind, from: Pick<WriteRequest, "session" | "turn" | "info">): Told {
  return {
    event: { kind, ...(from.info === undefined ? {} : { info: from.info }) },
    ...(from.session === undefined ? {} : { session: from.session }),
    ...(from.turn === undefined ? {} : { turn: from.turn }),
  };
}

function expectFailed(key: Key, expected: Hash | null, actual: Hash | null, state: Hash): VlinderError {
  return new VlinderError("conflict", `the key ${keyText(key)} does not have the value that was expected`, {
    details: { key: keyText(key), expected, actual, state },
    remedy: "read it again, and write on top of what is there now",
  });
}

/** The first vector fixes the dimension where agent.toml leaves it open. */
async function fixDimension(draft: Draft, branch: LiveBranch, dimension: number): Promise<LiveBranch> {
  const contract = await contractOf(draft, await draft.head(branch));
  if (contract?.vectors === undefined) {
    throw new VlinderError("not_declared", `the agent "${draft.agent}" declares no vector storage`, {
      remedy: 'add vector_storage = "sqlite://vectors.db" to agent.toml and run `vlinder agent add` again',
    });
  }
  if (contract.vectors.dimension === dimension) return branch;
  if (contract.vectors.dimension !== undefined) {
    throw invalid(`a vector of ${dimension} components where ${contract.vectors.dimension} were expected`, {
      details: { expected: contract.vectors.dimension, actual: dimension },
      remedy: "use the embedding model that the agent declares, or change [vectors] dimension in agent.toml",
    });
  }
  const fixed: Contract = { ...contract, vectors: { ...contract.vectors, dimension } };
  const head = await commitContract(draft, branch, fixed);
  return { ...branch, head: head.commit };
}

async function contractOf(draft: Draft, head: Head): Promise<Contract | null> {
  const { contract } = head.snapshot;
  if (contract === null) return null;
  // A contract of this draft is not in the storage yet.
  const here = draft.objects.find(({ kind, hash }) => kind === "value" && hash === contract);
  return here === undefined ? await draft.source.contract(contract) : decodeContract(here.bytes);
}

async function commitContract(draft: Draft, branch: LiveBranch, contract: Contract): Promise<Head> {
  const hash = storeContract(draft, contract);
  return await draft.commit(branch, { contract: hash }, { event: { kind: "contract" } });
}

/** Snapshots name a contract without its size: it must be a value in one piece. @throws too_large */
function storeContract(draft: Draft, contract: Contract): Hash {
  const bytes = encodeContract(contract);
  if (bytes.length > CHUNKED_OVER) {
    throw new VlinderError("too_large", `a contract of ${bytes.length} bytes`, {
      details: { limit: CHUNKED_OVER, size: bytes.length },
      remedy: "name fewer or shorter prefixes under [merge] in agent.toml",
    });
  }
  const hash = sha256(bytes);
  draft.value(hash, bytes);
  return hash;
}

/**
 * Makes the contract what agent.toml says, on main. On an empty storage these are the first commits:
 * functions of name and contract alone, so that machines which register the same agent apart from
 * each other share their history.
 */
export async function setContract(draft: Draft, contract: Contract): Promise<{ state: Hash; changed: boolean }> {
  const main = draft.table.byName(MAIN);
  if (main === undefined) return { state: await begin(draft, contract), changed: true };
  const head = await draft.head(main);
  const current = await contractOf(draft, head);
  const wanted = await withFixedDimension(draft, head, current, contract);
  if (current !== null && encodeContract(current).equals(encodeContract(wanted))) {
    return { state: head.commit, changed: false };
  }
  return { state: (await commitContract(draft, main, wanted)).commit, changed: true };
}

/** A dimension that the first vector fixed stays; one that is declared must be that of the vectors that are there. */
async function withFixedDimension(
  draft: Draft,
  head: Head,
  current: Contract | null,
  wanted: Contract,
): Promise<Contract> {
  const fixed = current?.vectors?.dimension;
  if (wanted.vectors === undefined || fixed === undefined || head.snapshot.vectors === null) return wanted;
  if (wanted.vectors.dimension === undefined) return { ...wanted, vectors: { ...wanted.vectors, dimension: fixed } };
  if (wanted.vectors.dimension === fixed) return wanted;
  throw invalid(
    `the agent "${draft.agent}" holds vectors of ${fixed} components; agent.toml asks for ${wanted.vectors.dimension}`,
    {
      details: { expected: fixed, actual: wanted.vectors.dimension },
      remedy: "delete the vectors first, or register the new dimension under another agent's name",
    },
  );
}

/** The first commit of an agent: a function of its name. It is main's id. */
export function firstCommit(agent: AgentName): Commit {
  const snapshot = hashSnapshot({ contract: null, kv: null, vectors: null });
  return { v: 1, agent, parents: [], snapshot, event: { kind: "init" } };
}

async function begin(draft: Draft, contract: Contract): Promise<Hash> {
  const first = firstCommit(draft.agent);
  const id = hashCommit(first);
  const main = { id, name: MAIN, head: null };
  const root = await draft.place(main, draft.source.empty(), first, {}, "init");
  const hash = storeContract(draft, contract);
  const second: Commit = {
    v: 1,
    agent: draft.agent,
    branch: id,
    parents: [root.commit],
    snapshot: hashSnapshot({ contract: hash, kv: null, vectors: null }),
    event: { kind: "contract" },
    changes: { contract: hash },
  };
  return (await draft.place({ ...main, head: root.commit }, root, second, { contract: hash }, "contract")).commit;
}

/** A new branch at a commit: one pointer. @throws conflict, when the name is taken */
export async function fork(draft: Draft, name: BranchName, from: Hash): Promise<{ branch: Hash; state: Hash }> {
  if (draft.table.byName(name) !== undefined) throw takenName(name);
  const id = randomBytes(32).toString("hex") as Hash;
  draft.move({ id, name, head: null }, await draft.source.at(from), `fork from ${from.slice(0, 12)}`);
  return { branch: id, state: from };
}

export function takenName(name: BranchName): VlinderError {
  return new VlinderError("conflict", `there is a branch "${name}" already`, {
    details: { branch: name },
    remedy: "choose another name, or delete that branch first",
  });
}

/** Goes forward to an earlier commit's keys and vectors. */
export async function rewind(draft: Draft, name: BranchName, to: Hash): Promise<{ state: Hash }> {
  const head = await draft.rewind(draft.writable(name), to, { event: { kind: "rewind" } });
  return { state: head.commit };
}

/** @throws invalid for main; not_found */
export function deleteBranch(draft: Draft, name: BranchName): { state: Hash } {
  const branch = draft.table.required(name);
  if (name === MAIN) {
    throw invalid("main can't be deleted", { remedy: "rewind it, or remove the agent" });
  }
  draft.move(branch, null, "delete");
  return { state: branch.head };
}

export interface MergeReply {
  /** The branch's head: after the merge, or of a dry run as it stays. */
  readonly state: Hash;
  readonly kind: "nothing" | "fast-forward" | "merge";
  /** The branch's head before it. */
  readonly ours: Hash;
  readonly conflicts: readonly MergeConflict[];
  /** The merge commit's parents, as `winnerFrom` counts them. */
  readonly parents: readonly Hash[];
}

export interface MergeHow {
  /** Whose values stay where both changed a key; absent: the policies decide. */
  readonly prefer?: "ours" | "theirs";
  /** Nothing is written. */
  readonly dry?: boolean;
}

/** Joins a commit's history into a branch. */
export async function merge(
  draft: Draft,
  into: BranchName,
  from: Hash,
  { prefer, dry = false }: MergeHow = {},
): Promise<MergeReply> {
  const branch = draft.writable(into);
  const ours = branch.head;
  const find = (hash: Hash): Promise<Commit | null> => draft.source.findCommit(hash);
  const done = { state: ours, ours, conflicts: [], parents: [] };
  if (await isAncestor(find, from, ours)) return { ...done, kind: "nothing" };
  if (await isAncestor(find, ours, from)) {
    if (!dry) draft.move(branch, await draft.source.at(from), `merge ${from.slice(0, 12)}: fast-forward`);
    return { ...done, kind: "fast-forward", state: dry ? ours : from };
  }
  const choice =
    prefer === undefined
      ? null
      : { prefer: prefer === "ours" ? ours : from, device: draft.device(), time: draft.now().toISOString() };
  const merged = await new Merger(draft.agent, draft.source).merge(branch.id, ours, from, choice);
  const { conflicts, commit } = merged;
  const reply: MergeReply = { ...done, kind: "merge", conflicts, parents: commit.parents };
  if (dry) return reply;
  for (const object of merged.objects) draft.objects.push(object);
  const why = `merge ${from.slice(0, 12)}`;
  const head = await draft.place(branch, merged.parent, commit, merged.changes, why);
  return { ...reply, state: head.commit };
}
