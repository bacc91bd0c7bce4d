import { type FileHandle, open } from "node:fs/promises";
import { VlinderError } from "@vlinder/protocol";
import type { ByteRange } from "./bucket.ts";
import type { LargeFile, S3Multipart } from "./s3-multipart.ts";

const TRIES = 3;
/** Bytes that are compared at a time. */
const SLICE = 4 << 20;

export interface S3FilesSteps {
  readonly uri: string;
  key(path: string): string;
  /** Undefined where there is no file. */
  size(path: string): Promise<number | undefined>;
  get(path: string, range: ByteRange): Promise<Buffer | null>;
}

/** Puts files that are too large for memory, and overwrites none: what has the name is looked for first, and compared. */
export class S3Files {
  readonly #steps: S3FilesSteps;
  readonly #multipart: S3Multipart;
  readonly #running = new Set<{ readonly controller: AbortController; readonly ended: Promise<unknown> }>();
  #closed = false;

  constructor(steps: S3FilesSteps, multipart: S3Multipart) {
    this.#steps = steps;
    this.#multipart = multipart;
  }

  /** @throws conflict: another file is there; what the steps throw */
  async put(path: string, source: string): Promise<void> {
    const controller = new AbortController();
    if (this.#closed) controller.abort(this.#closedError());
    const ended = this.#put(path, source, controller.signal);
    const one = { controller, ended: ended.catch(() => undefined) };
    this.#running.add(one);
    try {
      await ended;
    } finally {
      this.#running.delete(one);
    }
  }

  /** Breaks off what is under way, and waits until it is taken back. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { controller } of this.#running) controller.abort(this.#closedError());
    await Promise.all([...this.#running].map(({ ended }) => ended));
  }

  async #put(path: string, source: string, signal: AbortSignal): Promise<void> {
    const file = await open(source, "r");
    try {
      const { size } = await file.stat();
      for (let n = 1; n <= TRIES; n++) {
        const found = await before(signal, this.#steps.size(path));
        if (found !== undefined) {
          if (found === size && (await this.#isSame(path, file, size, signal))) return;
          throw this.#conflict(path);
        }
        const large: LargeFile = { source: file, size, path, key: this.#steps.key(path) };
        if ((await this.#multipart.put(large, signal)) === "made") return;
      }
    } finally {
      await file.close();
    }
    throw new VlinderError("unavailable", `the bucket ${this.#steps.uri} lost the upload of ${path} ${TRIES} times`, {
      remedy: "it is tried again; a rule of the bucket may end uploads too early",
      details: { bucket: this.#steps.uri, path },
    });
  }

  async #isSame(path: string, file: FileHandle, size: number, signal: AbortSignal): Promise<boolean> {
    for (let start = 0; start < size; start += SLICE) {
      const end = Math.min(start + SLICE, size);
      const ours = Buffer.alloc(end - start);
      const { bytesRead } = await file.read(ours, 0, ours.length, start);
      const theirs = await before(signal, this.#steps.get(path, { start, end }));
      if (theirs === null || bytesRead !== ours.length || !theirs.equals(ours)) return false;
    }
    return true;
  }

  #conflict(path: string): VlinderError {
    return new VlinderError("conflict", `the bucket ${this.#steps.uri} holds other bytes under ${path}`, {
      remedy: "nothing is overwritten; if that file is damaged, remove it and push again",
      details: { bucket: this.#steps.uri, path },
    });
  }

  #closedError(): VlinderError {
    return new VlinderError("unavailable", `the bucket ${this.#steps.uri} was closed`, {
      details: { bucket: this.#steps.uri },
      retryable: false,
    });
  }
}

/** What `work` gives, unless the signal comes first: what hangs in a request does not look at it. */
async function before<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
