import { VlinderError } from "@vlinder/protocol";
import type { Sent } from "./upload-memory.ts";
import { makeShard, readShard, type ShardFile, xorbBytes, type Xorbs } from "./xet-shard.ts";

/** Not about what the shard says: who asks, and how often. */
const OTHER_STATUS: ReadonlySet<number> = new Set([401, 403, 408, 425, 429]);

/**
 * The upload of one file by the official client, seen from its `fetch`. The client asks for a file's first chunk only whether
 * the service has it, and takes what it is told in answer for all the others, too: so the answer is made here, of all
 * that is known to be there.
 */
export class XetUpload {
  readonly #known: Xorbs;
  readonly #sent = new Map<string, Buffer>();
  #file: ShardFile | null = null;
  #isRefused = false;

  constructor(known: Xorbs) {
    this.#known = known;
  }

  /** Of `GET /v1/chunks/…`. */
  answer(): Response {
    if (this.#known.size === 0) return new Response(null, { status: 404 });
    return new Response(new Uint8Array(makeShard(this.#known)));
  }

  /** A shard that the service has taken. */
  took(body: unknown): void {
    if (!(body instanceof Uint8Array)) return;
    const { files, xorbs } = readShard(body);
    this.#file = files.at(-1) ?? this.#file;
    for (const [hash, records] of xorbs) this.#sent.set(hash, records);
  }

  /** A shard that it has not taken. */
  failed(error: unknown): void {
    const status = error instanceof VlinderError ? Number(error.details["status"]) : NaN;
    this.#isRefused = status >= 400 && status < 500 && !OTHER_STATUS.has(status);
  }

  /** Whether the service took a shard for wrong that relied on what was known: it has collected what no file needed. */
  get isRefused(): boolean {
    return this.#isRefused && this.#known.size > 0;
  }

  /** As the Hub names it; null: no shard of it was taken. */
  get hash(): string | null {
    return this.#file?.hash ?? null;
  }

  /** Of a file that is now in the bucket. */
  get sent(): Sent {
    const terms = this.#file?.terms ?? [];
    const xorbs = new Map<string, Buffer>();
    for (const hash of terms) {
      const records = this.#sent.get(hash) ?? this.#known.get(hash);
      if (records !== undefined) xorbs.set(hash, records);
    }
    const bytes = [...this.#sent.values()].reduce((sum, records) => sum + xorbBytes(records), 0);
    return { xorbs, stretches: terms.length, bytes };
  }
}
