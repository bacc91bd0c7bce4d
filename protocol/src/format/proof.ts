import { canonicalJson, type Json, parseCanonicalJson } from "../canonical.ts";
import { invalid } from "../errors.ts";
import { type Hash, isHash, sha256 } from "../hash.ts";
import { type Key, keyText } from "../names.ts";
import { decodeCommit } from "./commit.ts";
import { hashSnapshot, type Snapshot } from "./snapshot.ts";
import { decodeTreeNode, encodeTreeNode, type TreeNode, type TreeVersion } from "./tree-node.ts";

/** The tree that a proof goes through. */
export type ProofSpace = "kv" | "vectors";

/**
 * That a key had a value, or none, in the state of a commit. JSON; docs/formats.md has it. It holds all that is needed to
 * check it, and says nothing that it does not prove: what is trusted is the hash that the reader brings along.
 */
export interface Proof {
  readonly v: 1;
  readonly space: ProofSpace;
  readonly key: string;
  /** The commit, as its canonical JSON has it. */
  readonly commit: Json;
  readonly snapshot: Snapshot;
  /** The nodes from the root down to where the key is or would be, each as base64. */
  readonly nodes: readonly string[];
}

/** What the reader of a proof trusts, and asks. */
export interface ProofQuestion {
  readonly key: Key;
  /** Default `kv`. */
  readonly space?: ProofSpace;
  /** The commit's hash, or the snapshot's. */
  readonly trusted: { readonly commit: Hash } | { readonly snapshot: Hash };
}

export type Proven =
  | { readonly present: true; readonly hash: Hash; readonly size: number }
  | { readonly present: false };

const FIELDS = "commit,key,nodes,snapshot,space,v";
/** A tree of more levels can't be: each is at most half the one below. */
const MAX_NODES = 41;

/**
 * Checks a proof, with nothing but the proof and a hash that is trusted, and returns what it proves of the key.
 * @throws invalid, when it proves nothing about it: another key, commit or snapshot, or anything in it was changed
 */
export function checkProof(proof: unknown, { key, space = "kv", trusted }: ProofQuestion): Proven {
  const { snapshot, commit, ...rest } = parseProof(proof);
  if (rest.key !== keyText(key) || rest.space !== space) {
    fail(`it is about ${rest.space} ${JSON.stringify(rest.key.slice(0, 100))}`);
  }
  const named = hashSnapshot(snapshot);
  if ("commit" in trusted) {
    if (sha256(commit) !== trusted.commit) fail("its commit is another one");
    if (decodeCommit(Buffer.from(commit)).snapshot !== named) fail("its snapshot is not the commit's");
  } else if (named !== trusted.snapshot) {
    fail("its snapshot is another one");
  }
  return walk(rest.nodes, snapshot[space], key);
}

/** The hash of the commit that a proof is about: who trusts it can trust what the proof says. @throws invalid */
export function commitOfProof(proof: unknown): Hash {
  return sha256(parseProof(proof).commit);
}

/** Makes a proof from a commit's bytes and the nodes on the path to the key, root first. */
export function makeProof(
  { key, space }: { readonly key: Key; readonly space: ProofSpace },
  commit: Uint8Array,
  snapshot: Snapshot,
  path: readonly TreeNode[],
): Proof {
  const nodes = path.map((node) => encodeTreeNode(node).toString("base64"));
  return {
    v: 1,
    space,
    key: keyText(key),
    commit: parseCanonicalJson(commit, "commit"),
    snapshot,
    nodes,
  };
}

/** Index of the first entry with a key of at least this one: where to go on, or where the key would be. */
function place(keys: readonly Key[], key: Key): number {
  const index = keys.findIndex((one) => one >= key);
  return index === -1 ? keys.length : index;
}

/** From the root down: every node is the one that the node above names, and says of itself what that one says. */
function walk(nodes: readonly Buffer[], root: Hash | null, key: Key): Proven {
  if (root === null) {
    if (nodes.length > 0) fail("it has nodes of an empty tree");
    return { present: false };
  }
  let named: Named = { hash: root };
  for (const [depth, bytes] of nodes.entries()) {
    const node = checkedNode(bytes, named);
    const at = place(node.keys, key);
    const hash = node.hashes[at];
    const isEnd = node.level === 0 || hash === undefined;
    // Only in the root can there be no way on: below, a node's last key is at least the key that led there.
    if (isEnd !== (depth === nodes.length - 1)) fail("its path is too long or too short");
    if (isEnd) {
      if (hash === undefined || node.keys[at] !== key) return { present: false };
      return { present: true, hash, size: node.sizes[at] as number };
    }
    named = {
      hash,
      below: {
        version: node.version,
        level: node.level - 1,
        after: at === 0 ? named.below?.after : node.keys[at - 1],
        last: node.keys[at] as Key,
        size: node.sizes[at] as number,
        count: node.counts[at] as number,
      },
    };
  }
  fail("its path has no nodes");
}

/** What is known of a node before it is opened. */
interface Named {
  readonly hash: Hash;
  /** What the node above says of it; of the root, nothing. */
  readonly below?: {
    readonly version: TreeVersion;
    readonly level: number;
    /** All its keys are greater. */
    readonly after: Key | undefined;
    readonly last: Key;
    readonly size: number;
    readonly count: number;
  };
}

function checkedNode(bytes: Buffer, { hash, below }: Named): TreeNode {
  if (sha256(bytes) !== hash) fail("a node has another hash than the one above names");
  // Refuses what is not in the one form that a node has.
  const node = decodeTreeNode(bytes);
  if (below === undefined) return node;
  const count = node.level === 0 ? node.keys.length : sum(node.counts);
  if (node.version !== below.version) fail("a node is of another format than the one above it");
  if (node.level !== below.level) fail("a node is on another level than it must be");
  if (node.keys.at(-1) !== below.last || (below.after !== undefined && (node.keys[0] as Key) <= below.after)) {
    fail("a node has other keys than the one above names");
  }
  if (count !== below.count || sum(node.sizes) !== below.size) fail("a node has other totals than the one above names");
  return node;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

interface Parsed {
  readonly space: ProofSpace;
  readonly key: string;
  /** Canonical JSON. */
  readonly commit: string;
  readonly snapshot: Snapshot;
  readonly nodes: readonly Buffer[];
}

function parseProof(proof: unknown): Parsed {
  if (!isObject(proof) || Object.keys(proof).sort().join() !== FIELDS) fail("it is no proof");
  const { v, space, key, commit, snapshot, nodes } = proof;
  if (v !== 1) {
    throw invalid(`a proof of format ${JSON.stringify(v)?.slice(0, 20)}; this release knows 1`, {
      remedy: "update vlinder",
    });
  }
  if (space !== "kv" && space !== "vectors") fail("its space is neither kv nor vectors");
  if (typeof key !== "string") fail("its key is no text");
  if (!isObject(commit)) fail("its commit is no commit");
  if (!isSnapshot(snapshot)) fail("its snapshot is no snapshot");
  if (!Array.isArray(nodes) || nodes.length > MAX_NODES) fail("its nodes are no path");
  return { space, key, commit: canonicalJson(commit as Json), snapshot, nodes: nodes.map(nodeBytes) };
}

function nodeBytes(text: unknown): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text, "base64") : null;
  return bytes !== null && bytes.toString("base64") === text ? bytes : fail("a node is not standard padded base64");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSnapshot(value: unknown): value is Snapshot {
  if (!isObject(value) || Object.keys(value).sort().join() !== "contract,kv,vectors") return false;
  return Object.values(value).every((root) => root === null || isHash(root));
}

function fail(what: string): never {
  throw invalid(`the proof does not hold: ${what}`, {
    remedy: "ask for it again; what it says is not to be believed",
    details: { proof: false },
  });
}
