import { type AgentName, VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketFile } from "./buckets/bucket.ts";
import { type Retries, retrying } from "./retry.ts";

interface Parcel {
  readonly agent: AgentName;
  readonly file: BucketFile;
  readonly done: () => Promise<void> | void;
}

/** Bytes that wait here at most before they are put: what a push holds in memory beside the pack that is being made. */
const FULL = 32 << 20;

/**
 * Files of several agents on their way to the bucket, put together: a hub takes many in one request, and counts requests.
 * A file counts as there when it was put and then seen there with its size; `done` is called after that.
 */
export class Outbox {
  readonly #bucket: Bucket;
  readonly #retries: Retries;
  readonly #full: number;
  readonly #failed = new Map<AgentName, VlinderError>();
  #waiting: Parcel[] = [];
  #bytes = 0;
  #broken: VlinderError | null = null;

  constructor(bucket: Bucket, retries: Retries, full = FULL) {
    this.#bucket = bucket;
    this.#retries = retries;
    this.#full = full;
  }

  /** What keeps this agent's files from the bucket: its own conflict, or that the bucket takes nothing at all. */
  errorOf(agent: AgentName): VlinderError | null {
    return this.#broken ?? this.#failed.get(agent) ?? null;
  }

  /** @throws what `errorOf` gives */
  async add(parcel: Parcel): Promise<void> {
    this.#check(parcel.agent);
    this.#waiting.push(parcel);
    this.#bytes += parcel.file.bytes.length;
    if (this.#bytes < this.#full) return;
    await this.flush();
    this.#check(parcel.agent);
  }

  /** Puts what waits. Errors are told by `errorOf`. */
  async flush(): Promise<void> {
    const parcels = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    if (this.#broken !== null || parcels.length === 0) return;
    const error = await this.#send(parcels);
    if (error === null || error.retryable) {
      this.#broken = error;
      return;
    }
    // What is wrong may be wrong with one agent's files (another file in the way, a folder that is closed to us): that is no
    // reason to keep the others.
    for (const agent of new Set(parcels.map((parcel) => parcel.agent))) {
      const alone = await this.#send(parcels.filter((parcel) => parcel.agent === agent));
      if (alone !== null) this.#failed.set(agent, alone);
    }
  }

  #check(agent: AgentName): void {
    const error = this.errorOf(agent);
    if (error !== null) throw error;
  }

  async #send(parcels: readonly Parcel[]): Promise<VlinderError | null> {
    try {
      await retrying(this.#retries, () => this.#bucket.put(parcels.map(({ file }) => file)));
      await retrying(this.#retries, () => this.#seen(parcels));
    } catch (error) {
      if (error instanceof VlinderError) return error;
      throw error;
    }
    for (const { done } of parcels) await done();
    return null;
  }

  async #seen(parcels: readonly Parcel[]): Promise<void> {
    const sizes = await this.#bucket.sizes(parcels.map(({ file }) => file.path));
    const absent = parcels.find(({ file }) => sizes.get(file.path) !== file.bytes.length);
    if (absent === undefined) return;
    const { path } = absent.file;
    throw new VlinderError("unavailable", `${path} was written to ${this.#bucket.uri} and is not there`, {
      remedy: "it is tried again; if it stays so, the bucket does not keep what is written to it",
      details: { bucket: this.#bucket.uri, path },
    });
  }
}
