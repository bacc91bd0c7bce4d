import { type Hash, LIMITS, VlinderError } from "@vlinder/protocol";
import type { Kind } from "../storage/object-storage.ts";
import type { Draft } from "./draft.ts";
import { type Op, write, type WriteReply, type WriteRequest } from "./mutations.ts";
import { Upload, type UploadedValue, type UploadGround, type UploadPart } from "./upload.ts";

/** How often idle uploads are looked for, in milliseconds. */
const SWEEP = 60 * 1000;
/** Bytes of parts that wait to be worked on, of all agents of the process. */
const MOST_WAITING = 4 * LIMITS.uploadWindow;
let allWaiting = 0;
/** What uploads store. */
export const UPLOADED: readonly Kind[] = ["value", "list", "chunk"];

/** A write whose ops may name an upload in place of a value. */
export type UploadedWrite = Omit<WriteRequest, "ops"> & { readonly ops: readonly UploadedOp[] };
export type UploadedOp = Omit<Op, "value"> & { readonly value: Op["value"] | { readonly upload: string } };

/** Whether it names no upload. */
export function isPlain(request: UploadedWrite): request is WriteRequest {
  return !request.ops.some(({ value }) => isUpload(value));
}

type Commit = (work: (draft: Draft) => Promise<WriteReply>) => Promise<WriteReply>;

/** How an upload is. */
export interface UploadState {
  readonly received: number;
  /** Of the whole; null until the last part is durable. */
  readonly value: UploadedValue | null;
}

/**
 * One agent's values on their way in. They are kept in memory only: after a restart of the daemon a
 * client begins again, and the chunks that are there already cost nothing twice.
 */
export class Uploads {
  readonly #ground: UploadGround;
  readonly #open = new Map<string, Upload>();
  readonly #sweep: NodeJS.Timeout;
  #waiting = 0;

  constructor(ground: UploadGround) {
    this.#ground = ground;
    this.#sweep = setInterval(() => void this.#tidy(), SWEEP).unref();
  }

  close(): void {
    clearInterval(this.#sweep);
    this.#open.clear();
  }

  /**
   * Takes a part; the one at 0 begins an upload.
   * @throws not_found for another part of an upload that isn't here; unavailable, quota_exceeded, too_large, conflict, invalid
   */
  async put(id: string, part: UploadPart): Promise<UploadState> {
    this.#expire();
    const { length } = part.bytes;
    if (this.#waiting + length > LIMITS.uploadWindow || allWaiting + length > MOST_WAITING) throw tooFast(id);
    const upload = this.#open.get(id) ?? this.#begin(id, part);
    this.#checkBytes(upload, part.offset + length);
    this.#waiting += length;
    allWaiting += length;
    upload.touched = this.#ground.now();
    try {
      await upload.accept(part);
      return { received: upload.received, value: upload.value };
    } catch (error) {
      // Its bytes are not what the sender meant: no put shall find it.
      if (error instanceof VlinderError && error.code === "invalid") this.drop(id);
      throw error;
    } finally {
      this.#waiting -= length;
      allWaiting -= length;
    }
  }

  /** Whether there was one. What a put under way needs is held until it is done. */
  drop(id: string): boolean {
    const upload = this.#open.get(id);
    if (upload === undefined) return false;
    if (upload.puts > 0) upload.touched = Number.NEGATIVE_INFINITY;
    else this.#open.delete(id);
    return true;
  }

  /**
   * Makes the commit of a write whose ops name uploads, through `commit`. An upload is looked for when the
   * write is computed, so that a retry by its id gets the first reply also when the upload is gone. `rely` is told of
   * what the commit needs and does not store.
   */
  async write(
    request: UploadedWrite,
    commit: Commit,
    rely: (hashes: Iterable<Hash>) => void = () => {},
  ): Promise<WriteReply> {
    this.#expire();
    const { ops, ...rest } = request;
    const named = ops.flatMap(({ value }) => (isUpload(value) ? (this.#open.get(value.upload) ?? []) : []));
    for (const upload of named) upload.puts++;
    try {
      const reply = await commit(async (draft) => {
        const found = ops.map((op): Op => {
          return { ...op, value: isUpload(op.value) ? this.#value(op.value.upload, rely) : op.value };
        });
        const written = await write(draft, { ...rest, ops: found });
        return { ...written, hashes: found.map(({ value }) => value?.hash ?? null) };
      });
      for (const upload of named) upload.isPut = true;
      return reply;
    } finally {
      for (const upload of named) upload.puts--;
    }
  }

  /** The objects that no branch reaches yet and that are needed all the same: for gc. */
  *reached(): Generator<Hash> {
    this.#expire();
    for (const upload of this.#open.values()) yield* upload.reached;
  }

  /** Bytes that are here, and in no file yet. */
  get unstored(): number {
    let sum = 0;
    for (const { unstored } of this.#open.values()) sum += unstored;
    return sum;
  }

  /** Objects are erased: uploads that rest on one of them are gone, also for puts under way. */
  erase(hashes: ReadonlySet<Hash>): void {
    for (const [id, { reached }] of this.#open) {
      for (const hash of reached) {
        if (!hashes.has(hash)) continue;
        this.#open.delete(id);
        break;
      }
    }
  }

  /** The value that an upload has brought. @throws not_found; conflict when it is not whole */
  #value(id: string, rely: (hashes: Iterable<Hash>) => void): UploadedValue {
    this.#expire();
    const upload = this.#open.get(id);
    if (upload === undefined) throw unknown(id);
    upload.touched = this.#ground.now();
    if (upload.value !== null) {
      this.#rely(upload);
      rely(upload.reached);
      return upload.value;
    }
    throw new VlinderError("conflict", `the upload "${id}" is not whole: its last part is missing`, {
      details: { upload: id, received: upload.received },
      remedy: "send the rest; the last part says so with `last`",
    });
  }

  /** A put rests on it, and stores none of it again: what is being removed now may not take it away. */
  #rely({ reached }: Upload): void {
    const { watch } = this.#ground;
    if (!watch.isActive) return;
    for (const hash of reached) for (const kind of UPLOADED) watch.object(kind, hash);
  }

  #begin(id: string, { offset }: UploadPart): Upload {
    if (offset > 0) throw unknown(id);
    if (this.#open.size >= LIMITS.uploads && !this.#forgetOne()) {
      throw new VlinderError("unavailable", `the agent has ${LIMITS.uploads} uploads open`, {
        details: { limit: LIMITS.uploads },
        remedy: "put what is uploaded, drop what is not wanted (value.drop), or wait: idle ones expire",
      });
    }
    const upload = new Upload(id, this.#ground);
    this.#open.set(id, upload);
    return upload;
  }

  /** Makes room: the oldest one that was put is of use only for a second put. */
  #forgetOne(): boolean {
    for (const { id, isPut, puts } of this.#open.values()) if (isPut && puts === 0) return this.drop(id);
    return false;
  }

  #checkBytes(upload: Upload, end: number): void {
    let others = 0;
    for (const one of this.#open.values()) if (one !== upload && !one.isPut) others += one.received;
    if (others === 0 || others + Math.max(end, upload.received) <= LIMITS.uploadBytes) return;
    throw new VlinderError("quota_exceeded", `the agent's uploads would be over ${LIMITS.uploadBytes} bytes`, {
      details: { limit: LIMITS.uploadBytes, others },
      remedy: "put what is uploaded, or drop it (value.drop)",
    });
  }

  #expire(): void {
    const before = this.#ground.now() - LIMITS.uploadIdle;
    for (const { id, touched, puts } of this.#open.values()) if (touched < before && puts === 0) this.drop(id);
  }

  async #tidy(): Promise<void> {
    this.#expire();
    const before = this.#ground.now() - SWEEP;
    for (const upload of this.#open.values()) {
      if (upload.touched < before) await upload.rest().catch(() => undefined); // the next part meets it again
    }
  }
}

function isUpload(value: UploadedOp["value"]): value is { readonly upload: string } {
  return value !== null && "upload" in value;
}

function unknown(id: string): VlinderError {
  return new VlinderError("not_found", `there is no upload "${id}": it expired, was dropped, or the daemon restarted`, {
    details: { upload: id },
    remedy: "begin it again, with the part at offset 0; the SDK and the command line do so by themselves",
  });
}

function tooFast(id: string): VlinderError {
  return new VlinderError("unavailable", "too many parts wait to be worked on", {
    details: { upload: id, limit: LIMITS.uploadWindow },
    remedy: "send it again a little later, and have fewer parts in flight",
  });
}
