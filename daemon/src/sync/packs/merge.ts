import type { Hash, VlinderError } from "@vlinder/protocol";
import { TwoGenerations } from "../../state/two-generations.ts";
import type { StoredObject } from "../../storage/object-storage.ts";
import { VALUES } from "../erasures.ts";
import { type AgentListing, packPath } from "../listing.ts";
import { Outbox } from "../outbox.ts";
import { decodePack, PACK_LIMITS, packRawLength } from "../pack.ts";
import { PackWriter, type WrittenPack } from "../pack-writer.ts";
import { retrying } from "../retry.ts";
import { sealFile } from "../vault/sealer.ts";
import { type ErasedParts, erasedParts } from "./erased-parts.ts";
import { fetchPack } from "./fetch-pack.ts";
import { withFreshName } from "./fresh-name.ts";
import type { PackJob } from "./keeper.ts";
import { encodeMark, LEFT_LISTED, type Mark, markPath, type Replacement } from "./mark.ts";
import { Marks } from "./marks.ts";
import { stretchesToMerge } from "./merge-policy.ts";
import type { KnownPack } from "./pack-ledger.ts";

/** Objects of which it is remembered that they are in the merged packs already; one that was forgotten stands there twice. */
const REMEMBERED = 200_000;

/**
 * Merges small packs where there are many, and writes packs anew without what was erased: first the new packs, then marks
 * beside the old ones. A head that names the new ones is for the caller to write. Each step leaves the bucket whole: packs that nobody names,
 * or marks of packs that an older head names, for which the marks say what stands in their place.
 *
 * @param listing as the push began
 * @returns whether packs were replaced
 * @throws unavailable, denied, invalid; `conflict` when another machine replaced the same packs at the same time: its marks count
 */
export async function mergePacks(job: PackJob, listing: AgentListing): Promise<boolean> {
  const { state, policy } = job;
  const packs = state.packs();
  const stretches = stretchesToMerge(packs, policy.over).map(({ start, end }) => packs.slice(start, end));
  const erased = await erasedParts(job);
  for (const pack of packs) {
    if (erased.packs.has(pack.name) && !stretches.some((stretch) => stretch.includes(pack))) stretches.push([pack]);
  }
  let [replaced, read] = [false, 0];
  const counting = { ...job, progress: (size: number) => job.progress((read += size)) };
  for (const stretch of stretches) if (await new Merge(counting, listing, stretch, erased).run()) replaced = true;
  return replaced;
}

/** One stretch of packs, which others take the place of. */
class Merge {
  readonly #job: PackJob;
  readonly #listing: AgentListing;
  readonly #packs: readonly KnownPack[];
  readonly #erased: ErasedParts;
  readonly #outbox: Outbox;
  readonly #writer: PackWriter;
  readonly #seen = new TwoGenerations<string, true>(REMEMBERED);
  readonly #by: Replacement[] = [];
  readonly #left = new Map<string, Hash>();

  constructor(job: PackJob, listing: AgentListing, packs: readonly KnownPack[], erased: ErasedParts) {
    this.#job = job;
    this.#listing = listing;
    this.#packs = packs;
    this.#erased = erased;
    this.#outbox = new Outbox(job.bucket, job.retries);
    this.#writer = new PackWriter(job.sealer, PACK_LIMITS.records);
  }

  async run(): Promise<boolean> {
    const { state } = this.#job;
    const live = state.packs().map(({ name }) => name);
    const after = live.slice(0, live.indexOf((this.#packs[0] as KnownPack).name));
    if (after.length === 0 && this.#packs.length === live.length) await this.#trees();
    for (const pack of this.#packs) await this.#take(pack);
    await this.#send(await this.#writer.finish());
    await this.#flush();
    // Where not one pack less came out, and nothing went, the old ones are as good.
    if (this.#by.length >= this.#packs.length && this.#left.size === 0) return false;
    const names = this.#packs.map(({ name }) => name);
    const left = this.#left.size > LEFT_LISTED ? null : [...this.#left.values()];
    await this.#mark(after, names, left);
    const behind = await new Marks({ ...this.#job, listing: this.#listing }).behind(names);
    state.replace(names, left, behind, () => [...after, ...this.#by.map(({ name }) => name)]);
    return true;
  }

  /** Packs of a whole history begin with the trees, as the first ones of an agent do. */
  async #trees(): Promise<void> {
    const { exchange, commits } = this.#job;
    for (const commit of await commits()) {
      for await (const object of exchange.treeObjects(commit)) if (this.#isNew(object)) await this.#add(object);
      await this.#send(await this.#writer.boundary());
    }
  }

  async #take({ name, size, raw }: KnownPack): Promise<void> {
    const { agent, bucket, retries, sealer, state, progress } = this.#job;
    const stored = await retrying(retries, () => fetchPack(bucket, agent, name));
    if (raw === 0) state.setRaw(name, packRawLength(stored, sealer !== null));
    for (const object of await decodePack(stored, sealer)) {
      const { kind, hash } = object;
      if (kind === "node" || kind === "snapshot") continue;
      if (VALUES.has(kind) && this.#erased.objects.has(`${kind} ${hash}`)) this.#left.set(`${kind} ${hash}`, hash);
      else if (this.#isNew(object)) await this.#add(object);
      if (kind === "commit") await this.#send(await this.#writer.boundary());
    }
    progress(size);
  }

  #isNew({ kind, hash }: StoredObject): boolean {
    if (this.#seen.get(`${kind} ${hash}`) !== undefined) return false;
    this.#seen.set(`${kind} ${hash}`, true);
    return true;
  }

  async #add(object: StoredObject): Promise<void> {
    await this.#send(await this.#writer.add(object));
  }

  async #send(pack: WrittenPack | null): Promise<void> {
    if (pack === null) return;
    const { agent, sealer, state } = this.#job;
    // Where one of them holds all that the others do, it would come out under its own name: a mark beside the others would say
    // that it holds no more than they.
    const taken = new Set([...this.#listing.marks, ...this.#packs.map(({ name }) => name)]);
    const { name, bytes, objects } = await withFreshName(pack, taken, sealer);
    const raw = packRawLength(bytes, sealer !== null);
    this.#by.push({ name, raw });
    // Known at once, behind those that it is to replace: if this is cut off, heads name both, which is good too.
    const done = (): Promise<void> => state.addPack(name, bytes.length, objects, { raw });
    await this.#outbox.add({ agent, file: { path: packPath(agent, name), bytes }, done });
  }

  async #mark(after: readonly Hash[], packs: readonly Hash[], left: readonly Hash[] | null): Promise<void> {
    const { agent, device, now, sealer, vault } = this.#job;
    const self = device();
    const mark: Mark = {
      after,
      agent,
      by: this.#by,
      device: self.id,
      key: self.key,
      left,
      packs,
      time: now().toISOString(),
      vault,
    };
    const bytes = await sealFile(encodeMark(mark, self), sealer);
    for (const pack of packs) {
      await this.#outbox.add({ agent, file: { path: markPath(agent, pack), bytes }, done: () => undefined });
    }
    await this.#flush();
  }

  async #flush(): Promise<void> {
    await this.#outbox.flush();
    const error: VlinderError | null = this.#outbox.errorOf(this.#job.agent);
    if (error !== null) throw error;
  }
}
