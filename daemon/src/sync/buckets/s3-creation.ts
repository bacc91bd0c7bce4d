import { VlinderError } from "@vlinder/protocol";
import type { BucketFile } from "./bucket.ts";

/** A file up to this size shows at little cost whether the service has exclusive create. */
const PROBE_SIZE = 64 * 1024;
const TRIES = 3;

export interface S3CreationSteps {
  readonly uri: string;
  /** Undefined where there is no file. */
  size(path: string): Promise<number | undefined>;
  put(path: string, bytes: Uint8Array, isExclusive: boolean): Promise<"made" | "exists" | "unknown">;
  get(path: string): Promise<Buffer | null>;
}

/**
 * Makes files without overwriting any.
 *
 * `If-None-Match: *` does it, but some services answer that they don't know it, and others ignore it and overwrite. So until it is known,
 * a file is looked for first; the first small one that was made is sent once more, with the same bytes: a service that
 * has exclusive create must refuse it, and one that ignores the header has overwritten nothing with other bytes.
 */
export class S3Creation {
  readonly #steps: S3CreationSteps;
  readonly #busy = new Map<string, Promise<void>>();
  #isExclusive: boolean | undefined;

  constructor(steps: S3CreationSteps) {
    this.#steps = steps;
  }

  /** @throws conflict when the file is there with other bytes; what the steps throw */
  async create(file: BucketFile): Promise<void> {
    if (this.#isExclusive) return this.#create(file);
    const before = this.#busy.get(file.path) ?? Promise.resolve();
    const mine = before.then(() => this.#create(file));
    const done = mine.catch(() => undefined);
    this.#busy.set(file.path, done);
    try {
      await mine;
    } finally {
      if (this.#busy.get(file.path) === done) this.#busy.delete(file.path);
    }
  }

  async #create({ path, bytes }: BucketFile): Promise<void> {
    for (let n = 1; ; n++) {
      const size = await this.#make(path, bytes);
      if (size === undefined) return;
      const found = size === bytes.length ? await this.#steps.get(path) : Buffer.alloc(0);
      if (size === bytes.length && found?.equals(bytes)) return;
      // It was deleted in between.
      if (found === null && n < TRIES) continue;
      throw new VlinderError("conflict", `the bucket ${this.#steps.uri} holds other bytes under ${path}`, {
        remedy: "nothing is overwritten; if that file is damaged, remove it and push again",
        details: { bucket: this.#steps.uri, path },
      });
    }
  }

  /** The size of the file that has the name; undefined when there was none, and it is now this one. */
  async #make(path: string, bytes: Uint8Array): Promise<number | undefined> {
    const steps = this.#steps;
    if (!this.#isExclusive) {
      const size = await steps.size(path);
      if (size !== undefined) return size;
    }
    if (this.#isExclusive !== false) {
      const outcome = await steps.put(path, bytes, true);
      if (outcome === "made") {
        if (this.#isExclusive === undefined && bytes.length <= PROBE_SIZE) await this.#probe(path, bytes);
        return undefined;
      }
      this.#isExclusive = outcome === "exists";
      // Gone meanwhile: as one of this size would be, it is found to be gone when it is read.
      if (outcome === "exists") return (await steps.size(path)) ?? bytes.length;
    }
    await steps.put(path, bytes, false);
    return undefined;
  }

  async #probe(path: string, bytes: Uint8Array): Promise<void> {
    this.#isExclusive = (await this.#steps.put(path, bytes, true)) === "exists";
  }
}
