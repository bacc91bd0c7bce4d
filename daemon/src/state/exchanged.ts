import { type Commit, encodeSnapshot, type Hash, hashSnapshot } from "@vlinder/protocol";
import type { Kind, StoredObject } from "../storage/object-storage.ts";
import { commitsBetween } from "./ancestry.ts";
import type { ReadCommit } from "./api.ts";
import type { Head } from "./head.ts";
import { type Objects, valueKind } from "./objects.ts";
import type { Erased } from "./retention/erased.ts";

/** As `History` has it. */
export async function* newCommits(
  objects: Objects,
  heads: readonly Hash[],
  bases: readonly Hash[],
): AsyncGenerator<ReadCommit> {
  const order = await commitsBetween((hash) => objects.findCommit(hash), heads, bases);
  for (const hash of order) {
    yield { hash, commit: await objects.commit(hash), bytes: await objects.commitBytes(hash) };
  }
}

/** As `Exchange` has it. */
export async function* objectsOf(
  objects: Objects,
  erased: Pick<Erased, "has">,
  commit: Commit,
): AsyncGenerator<{ kind: Kind; hash: Hash }> {
  if (typeof commit.changes === "string") yield { kind: "changes", hash: commit.changes };
  const { contract, kv = [], vectors = [] } = await objects.changesOf(commit);
  if (contract !== undefined) yield { kind: "value", hash: contract };
  for (const [hash, size] of Object.values(commit.event.values ?? {}))
    yield* objectsOfValue(objects, erased, hash, size);
  for (const [, hash, size] of [...kv, ...vectors]) {
    if (hash !== null) yield* objectsOfValue(objects, erased, hash, size);
  }
}

/** Of a value that was erased: nothing. */
async function* objectsOfValue(
  objects: Objects,
  erased: Pick<Erased, "has">,
  hash: Hash,
  size: number,
): AsyncGenerator<{ kind: Kind; hash: Hash }> {
  if (erased.has(hash) && (await objects.value(hash, size)) === null) return;
  yield { kind: valueKind(size), hash };
  if (valueKind(size) === "list") yield* objects.partsOf(hash);
}

/** Nodes and snapshot of a state's trees. What is not stored lies in its layers, over nodes that are. */
export async function* treeObjects({ snapshot, nodes }: Head): AsyncGenerator<StoredObject> {
  const seen = new Set<Hash>();
  const open = [snapshot.kv, snapshot.vectors].filter((root) => root !== null);
  for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
    if (seen.has(hash)) continue;
    seen.add(hash);
    const node = await nodes.node(hash);
    yield { kind: "node", hash, bytes: node.bytes };
    if (node.level > 0) open.push(...node.unpacked().hashes);
  }
  yield { kind: "snapshot", hash: hashSnapshot(snapshot), bytes: Buffer.from(encodeSnapshot(snapshot)) };
}
