import { type AgentName, type Hash, VlinderError } from "@vlinder/protocol";
import type { Exchange } from "../../state/api.ts";
import type { StoredObject } from "../../storage/object-storage.ts";
import type { Bucket } from "../buckets/bucket.ts";
import { type ErasedAhead, missingIn, VALUES } from "../erasures.ts";
import { decodePack, freePack, packRawLength } from "../pack.ts";
import { type Retries, retrying } from "../retry.ts";
import type { SyncState } from "../sync-state.ts";
import type { Sealer } from "../vault/sealer.ts";
import { fetchPack } from "./fetch-pack.ts";
import type { Route } from "./route.ts";

/** What is needed to take packs of an agent from a bucket. */
export interface PackJob {
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

export interface FetchedPack {
  /** Bytes as stored, and of the payload. */
  readonly size: number;
  readonly raw: number;
  readonly objects: readonly StoredObject[];
}

/** @throws unavailable, invalid, denied */
export async function readPack({ agent, bucket, retries, sealer }: PackJob, name: Hash): Promise<FetchedPack> {
  const stored = await retrying(retries, () => fetchPack(bucket, agent, name));
  const objects = await naming(agent, name, () => decodePack(stored, sealer));
  return { size: stored.length, raw: packRawLength(stored, sealer !== null), objects };
}

export interface Taking {
  readonly ahead: ErasedAhead;
  /** Packs that may hold what explains that something is missing. */
  readonly later: readonly Hash[];
  /** Ends with the pack before: this one may rest on that. */
  readonly earlier: Promise<void>;
  /** Called when all but the commits is stored, or nearly. */
  readonly onValues: () => void;
}

/** Stores what a pack holds, when all of it is good, and notes that it is here. Nobody may use the pack's objects any more. @throws invalid, unavailable */
export async function takePack(
  job: PackJob,
  name: Hash,
  { size, raw, objects }: FetchedPack,
  { ahead, later, earlier, onValues }: Taking,
): Promise<{ commits: number; objects: number; bytes: number }> {
  const { agent, exchange, state } = job;
  const receive = (all: readonly StoredObject[]): Promise<{ readonly commits: number }> =>
    ahead.receive(all, () => objectsOf(job, later), { earlier, onValues });
  state.comesBack(objects);
  const stored = naming(agent, name, () => receiveWhole(job, objects, receive));
  try {
    await state.addPack(name, size, objects, { raw, stored });
  } catch (error) {
    await stored.catch(() => {}); // what addPack threw is told, and nothing goes on behind it
    throw error;
  }
  const { commits } = await stored;
  if (exchange.keepsCopies === true) freePack(objects);
  return { commits, objects: objects.length, bytes: size };
}

async function* objectsOf(
  { agent, bucket, sealer, state, retries }: PackJob,
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
  { agent, bucket, sealer, state, retries, route, sizes }: PackJob,
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
