import { decodeChunkList, type Hash } from "@vlinder/protocol";
import type { Exchange } from "../../state/api.ts";
import type { Kind, StoredObject } from "../../storage/object-storage.ts";
import { decodePack } from "../pack.ts";
import { retrying } from "../retry.ts";
import { fetchPack } from "./fetch-pack.ts";
import type { PackJob } from "./keeper.ts";

/** What merged packs are to leave out, as `<kind> <hash>`, and the packs that hold some of it. */
export interface ErasedParts {
  readonly objects: ReadonlySet<string>;
  readonly packs: ReadonlySet<Hash>;
}

/**
 * Of values that were forgotten: the values, their lists, and the parts that no other list has. Which these are is
 * read from the lists in the bucket, as there are none here any more. A part stays that is here, or that a list
 * in the bucket names which is not here since retention dropped it.
 */
export async function erasedParts(job: PackJob): Promise<ErasedParts> {
  const { state, exchange } = job;
  const found = state.forgottenIn();
  const objects = new Set(found.map(({ kind, hash }) => `${kind} ${hash}`));
  const packs = new Set(found.map(({ pack }) => pack));
  const tops = found.filter(({ kind }) => kind === "list");
  if (tops.length === 0) return { objects, packs };
  const lists = new Lists(job);
  const parts = await lists.partsOf(tops.map(({ hash }) => hash));
  const unused = await without(exchange, parts);
  if (exchange.isPruned()) {
    for (const name of await lists.partsOf(await foreignLists(job, objects))) unused.delete(name);
  }
  const live = new Set(state.packs().map(({ name }) => name));
  for (const name of unused) {
    objects.add(name);
    for (const pack of state.packsOf(name.split(" ")[1] as Hash)) if (live.has(pack)) packs.add(pack);
  }
  return { objects, packs };
}

/** Those that are not here. */
async function without(exchange: Exchange, parts: ReadonlySet<string>): Promise<Set<string>> {
  const absent = new Set<string>();
  for (const kind of ["chunk", "list"] as const) {
    const hashes = [...parts].filter((name) => name.startsWith(`${kind} `)).map((name) => name.split(" ")[1] as Hash);
    for (let i = 0; i < hashes.length; i += 256) {
      const slice = hashes.slice(i, i + 256);
      const bytes = await exchange.read(kind, slice);
      slice.forEach((hash, at) => {
        if (bytes[at] == null) absent.add(`${kind} ${hash}`);
      });
    }
  }
  return absent;
}

/** Lists in the bucket that are neither here nor forgotten. */
async function foreignLists({ state, exchange }: PackJob, forgotten: ReadonlySet<string>): Promise<Hash[]> {
  const lists: Hash[] = [];
  for await (const slice of state.held()) {
    const hashes = slice.filter(({ kind, hash }) => kind === "list" && !forgotten.has(`list ${hash}`));
    const bytes = await exchange.read(
      "list",
      hashes.map(({ hash }) => hash),
    );
    hashes.forEach(({ hash }, i) => {
      if (bytes[i] == null) lists.push(hash);
    });
  }
  return lists;
}

/** Lists by what the packs in the bucket hold; of a pack that was read only its lists are kept. */
class Lists {
  readonly #job: PackJob;
  readonly #found = new Map<Hash, StoredObject>();
  readonly #read = new Set<Hash>();

  constructor(job: PackJob) {
    this.#job = job;
  }

  /** All below these lists, as `<kind> <hash>`. */
  async partsOf(tops: readonly Hash[]): Promise<Set<string>> {
    const parts = new Set<string>();
    const open = [...tops];
    for (let hash = open.pop(); hash !== undefined; hash = open.pop()) {
      const list = await this.#list(hash);
      if (list === null) continue;
      const { level, parts: below } = decodeChunkList(list.bytes);
      const kind: Kind = level === 1 ? "chunk" : "list";
      for (const part of below) {
        const name = `${kind} ${part.hash}`;
        if (!parts.has(name) && kind === "list") open.push(part.hash);
        parts.add(name);
      }
    }
    return parts;
  }

  async #list(hash: Hash): Promise<StoredObject | null> {
    const { state, bucket, agent, retries, sealer } = this.#job;
    const live = new Set(state.packs().map(({ name }) => name));
    for (const pack of this.#found.has(hash) ? [] : state.packsOf(hash)) {
      if (!live.has(pack) || this.#read.has(pack)) continue;
      this.#read.add(pack);
      const objects = await decodePack(await retrying(retries, () => fetchPack(bucket, agent, pack)), sealer);
      for (const object of objects) if (object.kind === "list") this.#found.set(object.hash, object);
    }
    return this.#found.get(hash) ?? null;
  }
}
