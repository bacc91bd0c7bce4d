import { randomUUID } from "node:crypto";
import { VlinderError } from "@vlinder/protocol";
import type { BucketFile } from "./bucket.ts";
import type { S3Knowledge } from "./s3-knowledge.ts";

const TRIES = 3;
/** Of the file that tells whether the service has exclusive create: no path of ours has a part that starts with a dot. */
const TRIAL = ".trial-";

export interface S3CreationSteps {
  readonly uri: string;
  /** Undefined where there is no file. */
  size(path: string): Promise<number | undefined>;
  put(path: string, bytes: Uint8Array, isExclusive: boolean): Promise<"made" | "exists" | "unknown">;
  get(path: string): Promise<Buffer | null>;
  delete(path: string): Promise<void>;
}

/** A file that was made to find out what the service can, and that a daemon that was killed has left. */
export function isTrial(path: string): boolean {
  return path.startsWith(TRIAL);
}

/**
 * Makes files without overwriting any.
 *
 * `If-None-Match: *` does it, but some services answer that they don't know it, and others ignore it and overwrite. So where it is
 * not known, a file of a few bytes under a name of its own is put twice: a service that has exclusive create must refuse the
 * second. With a file that is wanted, one that does not know the header would be sent all of it in vain. Where there is no
 * exclusive create, a file is looked for before it is written.
 */
export class S3Creation {
  readonly #steps: S3CreationSteps;
  readonly #place: string;
  readonly #knowledge: S3Knowledge;
  readonly #busy = new Map<string, Promise<void>>();

  /** @param place the service and the bucket */
  constructor(steps: S3CreationSteps, place: string, knowledge: S3Knowledge) {
    this.#steps = steps;
    this.#place = place;
    this.#knowledge = knowledge;
  }

  /** @throws conflict when the file is there with other bytes; what the steps throw */
  async create({ path, bytes }: BucketFile): Promise<void> {
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
    if (await this.#knowledge.isExclusive(this.#place, () => this.#find())) {
      const outcome = await steps.put(path, bytes, true);
      if (outcome === "made") return undefined;
      // Gone meanwhile: as one of this size would be, it is found to be gone when it is read.
      if (outcome === "exists") return (await steps.size(path)) ?? bytes.length;
      this.#knowledge.learn(this.#place, false);
    }
    return this.#alone(path, async () => {
      const found = await steps.size(path);
      if (found === undefined) await steps.put(path, bytes, false);
      return found;
    });
  }

  /** Whether the service has exclusive create. */
  async #find(): Promise<boolean> {
    const steps = this.#steps;
    const path = `${TRIAL}${randomUUID()}`;
    const bytes = Buffer.from("vlinder tries whether files here can be overwritten; this one may be deleted\n");
    const first = await steps.put(path, bytes, true);
    if (first === "unknown") return false;
    try {
      // Refused at once: the reply to the same request before was lost.
      return first === "exists" || (await steps.put(path, bytes, true)) === "exists";
    } finally {
      // Where it stays it disturbs nobody, and why it does will be told about files that must go.
      await steps.delete(path).catch(() => undefined);
    }
  }

  /** Does the work when all that was given before under this name is done. */
  async #alone<T>(path: string, work: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(path) ?? Promise.resolve();
    const mine = before.then(work);
    const done = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#busy.set(path, done);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(path) === done) this.#busy.delete(path);
    }
  }
}
