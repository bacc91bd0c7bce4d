import { VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketEntry, BucketFile, ByteRange } from "../../src/sync/buckets/bucket.ts";
import type { UploadMemory } from "../../src/sync/buckets/upload-memory.ts";

/** Thrown where a machine would have died: nothing of ours catches it. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/** What to do at the n-th call, counted from 1 over all methods. */
export type Fault = (call: { readonly n: number; readonly method: string; readonly path: string }) => Outcome;
/** `before`: nothing happened. `after`: it happened, and the reply is lost. `refuse`: trying again does not help. */
export type Outcome = "fine" | "kill before" | "kill after" | "fail before" | "fail after" | "refuse";

/** A bucket that fails as it is told, and says how often it did. */
export class FaultyBucket implements Bucket {
  readonly uri: string;
  calls = 0;
  fired = 0;
  /** `put packs/…`, `delete heads/…`: what was asked for, in order. */
  readonly trace: string[] = [];
  readonly #inner: Bucket;
  readonly #fault: Fault;
  #dead = false;

  constructor(inner: Bucket, fault: Fault) {
    this.uri = inner.uri;
    this.#inner = inner;
    this.#fault = fault;
  }

  get(path: string, range?: ByteRange): Promise<Buffer | null> {
    return this.#call("get", path, () => this.#inner.get(path, range));
  }

  put(files: readonly BucketFile[]): Promise<void> {
    return this.#call("put", files.map(({ path }) => path).join(" "), () => this.#inner.put(files));
  }

  putFile(path: string, source: string, memory?: UploadMemory): Promise<void> {
    return this.#call("putFile", path, () => this.#inner.putFile(path, source, memory));
  }

  sizes(paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#call("sizes", paths.join(" "), () => this.#inner.sizes(paths));
  }

  revision(): Promise<string | null> {
    return this.#call("revision", "", () => this.#inner.revision());
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async *list(prefix: string): AsyncIterable<BucketEntry> {
    const found = await this.#call("list", prefix, async () => {
      const entries: BucketEntry[] = [];
      for await (const entry of this.#inner.list(prefix)) entries.push(entry);
      return entries;
    });
    yield* found;
  }

  delete(paths: readonly string[]): Promise<void> {
    return this.#call("delete", paths.join(" "), () => this.#inner.delete(paths));
  }

  async #call<T>(method: string, path: string, work: () => Promise<T>): Promise<T> {
    if (this.#dead) throw new Killed("dead already");
    this.calls++;
    this.trace.push(`${method} ${path}`);
    const outcome = this.#fault({ n: this.calls, method, path });
    if (outcome === "fine") return work();
    this.fired++;
    if (outcome.endsWith("after")) await work();
    this.#dead = outcome.startsWith("kill");
    if (this.#dead) throw new Killed(`killed at call ${this.calls}: ${method} ${path}`);
    if (outcome === "refuse") throw new VlinderError("denied", `refused at call ${this.calls}: ${method} ${path}`);
    throw new VlinderError("unavailable", `injected at call ${this.calls}: ${method} ${path}`);
  }
}
