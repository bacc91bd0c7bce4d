import { type AgentName, type Hash, VlinderError } from "@vlinder/protocol";
import type { Exchange, Integrated, TheirBranch } from "../state/api.ts";
import type { StoredObject } from "../storage/object-storage.ts";
import type { Bucket } from "./buckets/bucket.ts";
import { ErasedAhead, missingIn, VALUES } from "./erasures.ts";
import type { Head } from "./head.ts";
import { PackFeed } from "./pack-feed.ts";
import { decodePack, packRawLength } from "./pack.ts";
import { fetchPack } from "./packs/fetch-pack.ts";
import type { Route } from "./packs/route.ts";
import { type Retries, retrying } from "./retry.ts";
import type { SyncState } from "./sync-state.ts";
import type { Sealer } from "./vault/sealer.ts";

export interface PullJob {
  readonly agent: AgentName;
  readonly exchange: Exchange;
  readonly bucket: Bucket;
  /** Null: a plain vault. */
  readonly sealer: Sealer | null;
  readonly state: SyncState;
  /** Packs in the bucket, with their bytes. */
  readonly sizes: ReadonlyMap<Hash, number>;
  /** To the packs that stand for those that heads name. */
  readonly route: Route;
  readonly now: () => Date;
  readonly retries: Retries;
  /** Told the bytes of packs that were taken so far. */
  readonly progress: (bytes: number) => void;
}

export interface Pulled {
  readonly commits: number;
  readonly objects: number;
  /** Of packs. */
  readonly bytes: number;
  readonly branches: readonly Integrated[];
  /** A sentence for each head that names what its packs do not hold. */
  readonly notes: readonly string[];
  /** What kept a head from being taken, when something did; the others were taken. */
  readonly error: VlinderError | null;
}

/**
 * Takes the packs that these heads name and that are not here, then moves the branches. A head
 * counts when all its packs are in; one with a pack that is missing or bad changes no branch, and the others
 * go on. What was taken is recorded pack by pack, so that a pull that was cut off goes on there.
 */
export async function pullHeads(job: PullJob, heads: readonly Head[]): Promise<Pulled> {
  const taking = new PackTaker(job);
  try {
    return await takeHeads(job, heads, taking);
  } finally {
    await taking.settle();
  }
}

async function takeHeads(job: PullJob, heads: readonly Head[], taking: PackTaker): Promise<Pulled> {
  const { exchange, route, state } = job;
  await route.begin();
  const notes: string[] = [];
  const whole: TheirBranch[] = [];
  let error: VlinderError | null = null;
  for (const { body } of heads) taking.expect(await route.plan(body.packs));
  for (let open = heads; open.length > 0;) {
    const before = taking.total.objects;
    const failed: Head[] = [];
    error = null;
    for (const head of open) {
      const { body } = head;
      const isHere = async (): Promise<boolean> =>
        (await exchange.has(body.branches.flatMap((branch) => branch.head ?? []))).every(Boolean);
      let missing = await taking.head(body.packs);
      const isLacking = missing === null ? !(await isHere()) : missingIn(missing) !== undefined;
      if (isLacking && (await taking.claimed(body.packs))) missing = await taking.head(body.packs);
      error ??= missing;
      if (missing !== null) failed.push(head);
      else if (await isHere()) whole.push(...body.branches);
      else notes.push(`refused a head: ${body.n} of device ${body.device} names commits that its packs do not hold`);
    }
    // What stands in the place of an old head's packs may need what came with another head.
    open = taking.total.objects > before && taking.retryRefused() ? failed : [];
  }
  // Not being able to take these is no error: what they replace is there, or is sent again.
  await taking.all(await route.plan(route.replacements()));
  await route.adopt();
  const branches = whole.length === 0 ? [] : await exchange.integrate(whole);
  if (taking.total.objects > 0) {
    state.setTips([
      ...state.tips(),
      ...whole.flatMap(({ head, deleted }) => (head === null ? deleted : [head, ...deleted])),
    ]);
  }
  if (error === null) state.setFact("pulled", job.now().toISOString());
  return { ...taking.total, branches, notes, error };
}

interface FetchedPack {
  /** Bytes as stored, and of the payload. */
  readonly size: number;
  readonly raw: number;
  readonly objects: readonly StoredObject[];
}

class PackTaker {
  readonly total = { commits: 0, objects: 0, bytes: 0 };
  readonly #job: PullJob;
  readonly #feed: PackFeed<FetchedPack>;
  readonly #failed = new Map<Hash, VlinderError>();
  readonly #expected = new Set<Hash>();

  constructor(job: PullJob) {
    this.#job = job;
    this.#feed = new PackFeed((name) => readPack(job, name));
  }

  /** Packs that are likely to be taken, too: what makes good that something is missing may be in them. */
  expect(packs: readonly Hash[]): void {
    for (const pack of packs) this.#expected.add(pack);
  }

  /** Takes what a head names; the error of a pack that can't be taken. */
  async head(packs: readonly Hash[]): Promise<VlinderError | null> {
    const missing = await this.all(await this.#job.route.plan(packs));
    if (missing === null) return null;
    // What replaced them may lack what was built on them since: they are kept for a while for just that.
    return (await this.all(packs)) === null ? null : missing;
  }

  /**
   * Reads those of these packs, or of what stands for them, of which a mark claims that they hold no more than what is here: as something
   * is not here, it claims too much. Whether there were any.
   */
  async claimed(packs: readonly Hash[]): Promise<boolean> {
    const { route, sizes, state } = this.#job;
    const names = new Set<Hash>();
    for (const pack of packs) for (const name of sizes.has(pack) ? [pack] : await route.standIns(pack)) names.add(name);
    const read = new Set(state.packs().flatMap(({ name, claimed }) => (claimed ? [] : [name])));
    for (const { name } of state.replacedPacks()) read.add(name);
    const doubted = [...names].filter((name) => !read.has(name));
    for (const name of doubted) if ((await this.#take(name, [])) !== null) return false;
    if (doubted.length > 0) this.#failed.clear();
    return doubted.length > 0;
  }

  /** Those that were refused may be tried again; whether there are any. */
  retryRefused(): boolean {
    const refused = [...this.#failed].filter(([, { code }]) => code === "invalid");
    for (const [pack] of refused) this.#failed.delete(pack);
    return refused.length > 0;
  }

  /** Takes those that are not here, in order, up to the first that can't be taken; the error of that one. */
  async all(packs: readonly Hash[]): Promise<VlinderError | null> {
    const { exchange, state } = this.#job;
    const ahead = new ErasedAhead(exchange);
    const wanted = packs.filter((pack) => !state.hasPack(pack));
    for (const [i, pack] of wanted.entries()) {
      const error = this.#failed.get(pack) ?? (await this.#take(pack, wanted.slice(i + 1), ahead));
      if (error !== null) return error;
    }
    return null;
  }

  settle(): Promise<void> {
    return this.#feed.settle();
  }

  async #take(
    pack: Hash,
    later: readonly Hash[],
    ahead = new ErasedAhead(this.#job.exchange),
  ): Promise<VlinderError | null> {
    try {
      const next = later[0] !== undefined && this.#failed.has(later[0]) ? undefined : later[0];
      const all = new Set([...later, ...this.#expected]);
      all.delete(pack);
      const taken = await takePack(this.#job, pack, await this.#feed.take(pack, next), ahead, [...all]);
      this.total.commits += taken.commits;
      this.total.objects += taken.objects;
      this.total.bytes += taken.bytes;
      this.#job.progress(this.total.bytes);
      return null;
    } catch (error) {
      if (!(error instanceof VlinderError)) throw error;
      this.#failed.set(pack, error);
      return error;
    }
  }
}

async function readPack({ agent, bucket, retries, sealer }: PullJob, name: Hash): Promise<FetchedPack> {
  const stored = await retrying(retries, () => fetchPack(bucket, agent, name));
  const objects = await naming(agent, name, () => decodePack(stored, sealer));
  return { size: stored.length, raw: packRawLength(stored, sealer !== null), objects };
}

async function takePack(
  job: PullJob,
  name: Hash,
  { size, raw, objects }: FetchedPack,
  ahead: ErasedAhead,
  later: readonly Hash[],
): Promise<{ commits: number; objects: number; bytes: number }> {
  const { agent, state } = job;
  const receive = (all: readonly StoredObject[]): Promise<{ readonly commits: number }> =>
    ahead.receive(all, () => objectsOf(job, later));
  state.comesBack(objects);
  const { commits } = await naming(agent, name, () => receiveWhole(job, objects, receive));
  await state.addPack(name, size, objects, { raw });
  return { commits, objects: objects.length, bytes: size };
}

async function* objectsOf(
  { agent, bucket, sealer, state, retries }: PullJob,
  packs: readonly Hash[],
): AsyncGenerator<readonly StoredObject[]> {
  for (const pack of packs) {
    if (state.hasPack(pack)) continue;
    let objects: readonly StoredObject[] = [];
    try {
      objects = await decodePack(await retrying(retries, () => fetchPack(bucket, agent, pack)), sealer);
    } catch (error) {
      // It is not this one's turn: it may hold nothing that is looked for.
      if (!(error instanceof VlinderError)) throw error;
    }
    yield objects;
  }
}

/**
 * What a pack builds on came with earlier ones; but retention may have dropped it here since, or a collection may
 * have come between two packs. Then the pack that holds it is fetched once more, and its values go along.
 */
async function receiveWhole(
  { agent, bucket, sealer, state, retries, route, sizes }: PullJob,
  objects: readonly StoredObject[],
  receive: (all: readonly StoredObject[]) => Promise<{ readonly commits: number }>,
): Promise<{ readonly commits: number }> {
  const again = new Set<Hash>();
  let all = objects;
  for (;;) {
    try {
      return await receive(all);
    } catch (error) {
      const missing = missingIn(error);
      const holders: Hash[] = [];
      for (const name of missing === undefined ? [] : state.packsOf(missing.hash)) {
        holders.push(...(sizes.has(name) ? [name] : await route.standIns(name)));
      }
      const pack = holders.find((one) => !again.has(one));
      if (pack === undefined) throw error;
      again.add(pack);
      const held = await decodePack(await retrying(retries, () => fetchPack(bucket, agent, pack)), sealer);
      const here = new Set(all.map(({ kind, hash }) => `${kind} ${hash}`));
      const values = held.filter(({ kind, hash }) => VALUES.has(kind) && !here.has(`${kind} ${hash}`));
      all = [...values, ...all];
    }
  }
}

async function naming<T>(agent: AgentName, pack: Hash, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    throw new VlinderError(error.code, `pack ${pack} of ${agent}: ${error.message}`, {
      cause: error,
      details: { ...error.details, pack },
      retryable: error.retryable,
      remedy: error.remedy ?? "the machine that wrote the pack has a fault, or somebody else may write to the bucket",
    });
  }
}
