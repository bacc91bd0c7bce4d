import { type AgentName, type Hash, invalid, type Progress, sha256, VlinderError } from "@vlinder/protocol";
import type { Exchange, Integrated, TheirBranch } from "../state/api.ts";
import type { StoredObject } from "../storage/object-storage.ts";
import type { Bucket } from "./buckets/bucket.ts";
import { ErasedAhead, missingIn, VALUES } from "./erasures.ts";
import type { Head } from "./head.ts";
import { packPath } from "./listing.ts";
import { decodePack, PACK_LIMITS } from "./pack.ts";
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
  /** Bytes of the packs in the bucket, for the progress. */
  readonly sizes: ReadonlyMap<Hash, number>;
  readonly now: () => Date;
  readonly retries: Retries;
  readonly progress: (progress: Progress) => void;
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
  const { exchange, state } = job;
  const taking = new PackTaker(job, heads);
  const notes: string[] = [];
  const whole: TheirBranch[] = [];
  let error: VlinderError | null = null;
  for (const { body } of heads) {
    const missing = await taking.all(body.packs);
    error ??= missing;
    if (missing !== null) continue;
    const here = await exchange.has(body.branches.flatMap(({ head }) => head ?? []));
    if (here.every(Boolean)) whole.push(...body.branches);
    else notes.push(`refused a head: ${body.n} of device ${body.device} names commits that its packs do not hold`);
  }
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

class PackTaker {
  readonly total = { commits: 0, objects: 0, bytes: 0 };
  readonly #job: PullJob;
  readonly #expected: number;
  readonly #failed = new Map<Hash, VlinderError>();

  constructor(job: PullJob, heads: readonly Head[]) {
    this.#job = job;
    const wanted = new Set(heads.flatMap(({ body }) => body.packs).filter((pack) => !job.state.hasPack(pack)));
    this.#expected = [...wanted].reduce((sum, pack) => sum + (job.sizes.get(pack) ?? 0), 0);
  }

  /** Takes those that are not here, in order, up to the first that can't be taken; the error of that one. */
  async all(packs: readonly Hash[]): Promise<VlinderError | null> {
    const { agent, state, progress, exchange } = this.#job;
    const ahead = new ErasedAhead(exchange);
    for (const pack of packs) {
      if (state.hasPack(pack)) continue;
      const before = this.#failed.get(pack);
      if (before !== undefined) return before;
      try {
        const taken = await takePack(this.#job, pack, ahead, packs.slice(packs.indexOf(pack) + 1));
        this.total.commits += taken.commits;
        this.total.objects += taken.objects;
        this.total.bytes += taken.bytes;
        progress({ what: `pulling ${agent}`, done: this.total.bytes, total: this.#expected, unit: "bytes" });
      } catch (error) {
        if (!(error instanceof VlinderError)) throw error;
        this.#failed.set(pack, error);
        return error;
      }
    }
    return null;
  }
}

async function takePack(
  job: PullJob,
  name: Hash,
  ahead: ErasedAhead,
  later: readonly Hash[],
): Promise<{ commits: number; objects: number; bytes: number }> {
  const { agent, bucket, state, retries } = job;
  const stored = await retrying(retries, () => fetchPack(bucket, agent, name));
  const objects = await naming(agent, name, () => decodePack(stored, job.sealer));
  const receive = (all: readonly StoredObject[]): Promise<{ readonly commits: number }> =>
    ahead.receive(all, () => objectsOf(job, later));
  const { commits } = await naming(agent, name, () => receiveWhole(job, objects, receive));
  await state.addPack(name, stored.length, objects);
  return { commits, objects: objects.length, bytes: stored.length };
}

async function* objectsOf(
  { agent, bucket, sealer, state, retries }: PullJob,
  packs: readonly Hash[],
): AsyncGenerator<readonly StoredObject[]> {
  for (const pack of packs) {
    if (state.hasPack(pack)) continue;
    yield await decodePack(await retrying(retries, () => fetchPack(bucket, agent, pack)), sealer);
  }
}

/**
 * What a pack builds on came with earlier ones; but retention may have dropped it here since, or a collection may
 * have come between two packs. Then the pack that holds it is fetched once more, and its values go along.
 */
async function receiveWhole(
  { agent, bucket, sealer, state, retries }: PullJob,
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
      const pack = missing === undefined ? undefined : state.packsOf(missing.hash).find((one) => !again.has(one));
      if (pack === undefined) throw error;
      again.add(pack);
      const held = await decodePack(await retrying(retries, () => fetchPack(bucket, agent, pack)), sealer);
      const here = new Set(all.map(({ kind, hash }) => `${kind} ${hash}`));
      const values = held.filter(({ kind, hash }) => VALUES.has(kind) && !here.has(`${kind} ${hash}`));
      all = [...values, ...all];
    }
  }
}

/** A pack's stored bytes. Missing or altered is retryable: a listing lags, a folder is still being copied. */
async function fetchPack(bucket: Bucket, agent: AgentName, name: Hash): Promise<Buffer> {
  const path = packPath(agent, name);
  const bytes = await bucket.get(path, { start: 0, end: PACK_LIMITS.sealed + 1 });
  const remedy =
    "if the bucket is still being copied, wait; else a machine that has the memory must push again: remove the file " +
    "if it is there, and run vlinder sync push on that machine";
  const details = { bucket: bucket.uri, path };
  if (bytes === null) {
    throw new VlinderError("unavailable", `the bucket ${bucket.uri} lacks ${path}, which a head names`, {
      remedy,
      details,
    });
  }
  if (bytes.length > PACK_LIMITS.sealed) throw invalid(`${path} is larger than a pack may be`, { remedy, details });
  if (sha256(bytes) === name) return bytes;
  throw new VlinderError("unavailable", `${path} in the bucket ${bucket.uri} is damaged: its hash is another`, {
    remedy,
    details,
  });
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
