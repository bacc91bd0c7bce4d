import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { VlinderError } from "@vlinder/protocol";
import type { Bucket, BucketEntry, BucketFile, ByteRange } from "../../../src/sync/buckets/bucket.ts";
import { dice } from "../noise.ts";
import type { Faults } from "./orders.ts";

/** How far a listing lags at most: far less than the grace after which replaced packs are deleted. */
export const LAG = 10 * 60_000;

/** What every machine of a trial did to the bucket, and when: from it a listing is made to lag. */
export class Journal {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** Before it is done, so that nothing that was done is not here. */
  add(time: number, files: readonly { readonly path: string; readonly size: number | null }[]): void {
    appendFileSync(this.#file, files.map(({ path, size }) => `${JSON.stringify({ time, path, size })}\n`).join(""));
  }

  /** What was made (a size) or deleted (null) since. */
  since(time: number): { path: string; size: number | null }[] {
    if (!existsSync(this.#file)) return [];
    const lines = readFileSync(this.#file, "utf8").trimEnd().split("\n").slice(-400);
    const events = lines
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { time: number; path: string; size: number | null });
    return events.filter((event) => event.time >= time);
  }
}

/** Counts the steps of a push or pull, and kills the process at one of them: for good, as `kill -9` does. */
export class Steps {
  taken = 0;
  killAt = 0;

  /** A kill comes before a step or after it, by whether its number is odd. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    const isLast = ++this.taken === this.killAt;
    if (isLast && this.killAt % 2 === 1) process.kill(process.pid, "SIGKILL");
    const result = await work();
    if (isLast) process.kill(process.pid, "SIGKILL");
    return result;
  }
}

interface TrialBucketOptions {
  readonly inner: Bucket;
  readonly faults: Faults;
  readonly steps: Steps;
  readonly journal: Journal;
  readonly now: () => number;
  readonly fired: (fault: string) => void;
}

/**
 * A bucket over which everything goes wrong that may: errors before and after the work, replies that are lost, work that is done
 * long after it timed out, uploads of which a part arrives, bytes that are cut off or changed on the way, listings and sizes that lag.
 */
export class TrialBucket implements Bucket {
  readonly uri: string;
  readonly #options: TrialBucketOptions;
  readonly #roll: (below: number) => number;
  readonly #late: Promise<unknown>[] = [];

  constructor(options: TrialBucketOptions) {
    this.uri = options.inner.uri;
    this.#options = options;
    this.#roll = dice(options.faults.seed);
  }

  get(path: string, range?: ByteRange): Promise<Buffer | null> {
    return this.#step(`get ${path}`, async () => {
      const bytes = await this.#inner.get(path, range);
      if (bytes === null || bytes.length === 0 || !this.#happens("a read that is cut off or changed")) return bytes;
      if (this.#roll(2) === 0) return bytes.subarray(0, this.#roll(bytes.length));
      const changed = Buffer.from(bytes);
      const at = this.#roll(changed.length);
      changed[at] = (changed[at] as number) ^ (1 << this.#roll(8));
      return changed;
    });
  }

  put(files: readonly BucketFile[]): Promise<void> {
    return this.#step(`put ${files.map(({ path }) => path).join(" ")}`, async () => {
      this.#note(files.map(({ path, bytes }) => ({ path, size: bytes.length })));
      if (!this.#happens("an upload of which a part arrives")) return await this.#inner.put(files);
      const part = files.filter(() => this.#roll(2) === 0);
      if (part.length > 0) await this.#inner.put(part);
      throw this.#error("a part arrived");
    });
  }

  putFile(path: string, source: string): Promise<void> {
    return this.#step(`putFile ${path}`, () => this.#inner.putFile(path, source));
  }

  sizes(paths: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#step("sizes", async () => {
      const sizes = new Map(await this.#inner.sizes(paths));
      if (this.#happens("sizes that lag")) for (const path of paths) if (this.#roll(2) === 0) sizes.delete(path);
      return sizes;
    });
  }

  async *list(prefix: string): AsyncIterable<BucketEntry> {
    yield* await this.#step(`list ${prefix}`, async () => {
      const entries = new Map<string, number>();
      for await (const { path, size } of this.#inner.list(prefix)) entries.set(path, size);
      if (this.#happens("a list that lags")) {
        for (const { path, size } of this.#options.journal.since(this.#options.now() - LAG).toReversed()) {
          if (this.#roll(2) === 0 || !path.startsWith(prefix)) continue;
          if (size !== null) entries.delete(path);
          else if (!entries.has(path)) entries.set(path, this.#sizeOf(path));
        }
      }
      return [...entries].map(([path, size]) => ({ path, size }));
    });
  }

  delete(paths: readonly string[]): Promise<void> {
    return this.#step(`delete ${paths.join(" ")}`, async () => {
      this.#note(paths.map((path) => ({ path, size: null })));
      if (!this.#happens("a deletion of which a part is done")) return await this.#inner.delete(paths);
      await this.#inner.delete(paths.filter(() => this.#roll(2) === 0));
      throw this.#error("a part was deleted");
    });
  }

  revision(): Promise<string | null> {
    return this.#inner.revision();
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#late);
    await this.#inner.close();
  }

  get #inner(): Bucket {
    return this.#options.inner;
  }

  #sizeOf(path: string): number {
    const events = this.#options.journal.since(0).filter((event) => event.path === path && event.size !== null);
    return events.at(-1)?.size ?? 1;
  }

  #note(files: readonly { readonly path: string; readonly size: number | null }[]): void {
    this.#options.journal.add(this.#options.now(), files);
  }

  #step<T>(call: string, work: () => Promise<T>): Promise<T> {
    return this.#options.steps.take(async () => {
      if (this.#happens("an error before")) throw this.#error(`before ${call}`);
      if (this.#happens("a time-out, and the work is done later")) {
        // It goes on in the midst of what comes next.
        this.#late.push(
          sleep(this.#roll(40))
            .then(work)
            .catch(() => undefined),
        );
        throw this.#error(`time-out of ${call}`);
      }
      const result = await work();
      if (this.#happens("a lost reply")) throw this.#error(`after ${call}`);
      return result;
    });
  }

  #happens(fault: string): boolean {
    if (this.#roll(1000) >= this.#options.faults.rate) return false;
    this.#options.fired(fault);
    return true;
  }

  #error(what: string): VlinderError {
    return new VlinderError("unavailable", `injected: ${what}`);
  }
}
