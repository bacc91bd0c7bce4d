import { type Contract, type Hash, MAIN } from "@vlinder/protocol";
import type { Integrated, TheirBranch } from "../../src/state/api.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import type { StoredObject } from "../../src/storage/object-storage.ts";
import { openEngine, type Opened } from "./harness.ts";

/** What one machine has to offer another: new objects, and how its branches are. */
export interface Offer {
  readonly objects: readonly StoredObject[];
  readonly branches: readonly TheirBranch[];
}

export async function machine(n: number, contract?: Contract): Promise<Opened> {
  return await openEngine({ device: n, ...(contract === undefined ? {} : { contract }) });
}

/** An engine with nothing in it, as a clone starts. */
export async function emptyMachine(n: number): Promise<Opened> {
  return await openEngine({ device: n, contract: null });
}

/** Everything that `heads` need and `bases` don't have, in the order that `receive` asks for. */
export async function objectsFor(
  from: StateEngine,
  heads: readonly Hash[],
  bases: readonly Hash[] = [],
): Promise<StoredObject[]> {
  const objects = new Map<string, StoredObject>();
  for await (const { hash, commit, bytes } of from.newCommits(heads, bases)) {
    for await (const { kind, hash: needed } of from.objectsOf(commit)) {
      const [found] = await from.read(kind, [needed]);
      if (found == null) throw new Error(`${kind} ${needed} is not here`);
      objects.set(`${kind} ${needed}`, { kind, hash: needed, bytes: found });
    }
    objects.set(`commit ${hash}`, { kind: "commit", hash, bytes });
  }
  return [...objects.values()];
}

export async function offer(from: StateEngine, to: StateEngine): Promise<Offer> {
  const branches = from.branches();
  const heads = branches.flatMap(({ head, deleted }) => (head === null ? deleted : [head, ...deleted]));
  const bases = to.liveBranches().map(({ head }) => head);
  return { objects: await objectsFor(from, heads, bases), branches };
}

export async function take(to: StateEngine, { objects, branches }: Offer): Promise<Integrated[]> {
  await to.receive(objects);
  return await to.integrate(branches);
}

/** One machine hears of the other. */
export async function send(from: StateEngine, to: StateEngine): Promise<Integrated[]> {
  return await take(to, await offer(from, to));
}

/** Both hear of each other at once: each merges without knowing that the other does. */
export async function meet(a: StateEngine, b: StateEngine): Promise<void> {
  const [fromA, fromB] = [await offer(a, b), await offer(b, a)];
  await take(b, fromA);
  await take(a, fromB);
}

/** Everyone hears of everyone until all have the same head. */
export async function settle(engines: readonly StateEngine[]): Promise<void> {
  const heads = (): Set<Hash> => new Set(engines.map((engine) => engine.branch(MAIN).head));
  for (let round = 0; heads().size > 1; round++) {
    if (round === engines.length) throw new Error(`${round} rounds, and they do not agree`);
    for (const [i, a] of engines.entries()) for (const b of engines.slice(i + 1)) await meet(a, b);
  }
}
