import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Hash, invalid, LIMITS, VlinderError } from "@vlinder/protocol";
import type { ObjectStorage, StoredObject } from "../storage/object-storage.ts";
import { HashLog } from "./hash-log.ts";
import type { Watch } from "./retention/watch.ts";
import { ValueCutter } from "./value-cutter.ts";

/** A part of a value, as `value.put` brings it. */
export interface UploadPart {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly last?: boolean | undefined;
  /** With `last`: what the whole must hash to. */
  readonly hash?: Hash | undefined;
}

/** A value that is stored whole, and that nothing reaches yet. */
export interface UploadedValue {
  readonly hash: Hash;
  readonly size: number;
}

/** What uploads stand on. */
export interface UploadGround {
  readonly storage: ObjectStorage;
  /** In milliseconds since 1970. */
  readonly now: () => number;
  /** Is told what they store, and rely on. */
  readonly watch: Pick<Watch, "object" | "isActive">;
  /** Lets so many bytes in. @throws quota_exceeded */
  readonly admit: (bytes: number) => void | Promise<void>;
}

/** Objects go to the storage when so many bytes of them are there: a transaction that keeps others waiting for milliseconds only. */
const STORE_BYTES = 1024 * 1024;

/**
 * One value on its way in. It is cut and hashed as its parts come, and what is whole goes to the
 * storage at once, beside the writer: no branch reaches it before a put names the upload. Of the value
 * itself at most two transactions and the chunk that is not whole yet are held.
 */
export class Upload {
  readonly id: string;
  /** When the last part or put came, in milliseconds since 1970. */
  touched: number;
  /** Puts that name it and are under way. */
  puts = 0;
  /** Whether a put that names it is durable: then it can be forgotten when there is need. */
  isPut = false;
  readonly #ground: UploadGround;
  readonly #sum = createHash("sha256");
  readonly #cutter = new ValueCutter();
  readonly #reached = new HashLog();
  #received = 0;
  #line: Promise<unknown> = Promise.resolve();
  #objects: StoredObject[] = [];
  #bytes = 0;
  /** Of the transaction under way. */
  #inFlight = 0;
  #storing: Promise<void> | null = null;
  /** The last transaction failed: the next part waits for it to be stored. */
  #failed = false;
  /** All is here, with this hash. */
  #whole: UploadedValue | null = null;
  #value: UploadedValue | null = null;

  constructor(id: string, ground: UploadGround) {
    this.id = id;
    this.#ground = ground;
    this.touched = ground.now();
  }

  get received(): number {
    return this.#received;
  }

  /** Bytes of it that are in no file yet. */
  get unstored(): number {
    return this.#bytes + this.#inFlight;
  }

  /** Null until the last part is durable. */
  get value(): UploadedValue | null {
    return this.#value;
  }

  /** Everything that it has stored or is about to: values, chunks and lists. */
  get reached(): Iterable<Hash> {
    return this.#reached;
  }

  /**
   * Takes a part; parts are worked on one after another. One that is here already is fine.
   * @throws conflict when there is a gap before it, or the value ended before it; too_large; unavailable,
   * quota_exceeded, then the same part may come again; invalid when the whole has another hash
   */
  accept(part: UploadPart): Promise<void> {
    const work = this.#line.then(() => this.#accept(part));
    this.#line = work.catch(() => undefined); // told to who sent the part
    return work;
  }

  /** Stores what is collected, so that an upload to which nothing comes holds next to nothing. @throws unavailable */
  rest(): Promise<void> {
    const work = this.#line.then(() => this.#storeAll());
    this.#line = work.catch(() => undefined); // told to who asked
    return work;
  }

  async #accept({ offset, bytes, last = false, hash }: UploadPart): Promise<void> {
    // Each part takes milliseconds: others get their turn in between.
    await nextTurn();
    const end = offset + bytes.length;
    if (offset > this.#received) throw this.#gap(offset);
    if (end > LIMITS.uploadBytes) throw tooLarge(end);
    if (this.#whole !== null ? end > this.#whole.size : last && end < this.#received) throw this.#ended(end);
    if (end > this.#received) {
      await this.#ground.admit(end - this.#received);
      await this.#room();
      const fresh = bytes.subarray(this.#received - offset);
      this.#sum.update(fresh);
      this.#collect(this.#cutter.push(fresh));
      this.#received = end;
    }
    if (last) await this.#finish(hash);
  }

  async #finish(expected: Hash | undefined): Promise<void> {
    if (this.#whole === null) {
      this.#whole = { hash: this.#sum.digest("hex") as Hash, size: this.#received };
      this.#collect(this.#cutter.finish(this.#whole.hash));
    }
    const { hash } = this.#whole;
    if (expected !== undefined && expected !== hash) {
      throw invalid(`the parts of the upload "${this.id}" have another hash than was said`, {
        details: { upload: this.id, expected, actual: hash },
        remedy: "begin again with another upload; if it stays so, the source changes while it is read",
      });
    }
    await this.#storeAll();
    this.#value = this.#whole;
  }

  #collect(objects: readonly StoredObject[]): void {
    for (const object of objects) {
      // Before it is stored: what was there already must not be removed meanwhile.
      this.#reached.add(object.hash);
      this.#ground.watch.object(object.kind, object.hash);
      this.#objects.push(object);
      this.#bytes += object.bytes.length;
    }
  }

  /** Waits until there is room for more objects. @throws unavailable */
  async #room(): Promise<void> {
    if (this.#bytes < STORE_BYTES) return;
    await this.#stored();
    this.#storing = this.#store();
    if (this.#failed) await this.#stored();
    else this.#storing.catch(() => undefined); // told to the next part
  }

  async #storeAll(): Promise<void> {
    await this.#stored();
    this.#storing = this.#store();
    await this.#stored();
  }

  /** Waits for the transaction under way. */
  async #stored(): Promise<void> {
    try {
      await this.#storing;
      this.#failed = false;
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      this.#storing = null;
    }
  }

  async #store(): Promise<void> {
    const objects = this.#objects;
    if (objects.length === 0) return;
    const bytes = this.#bytes;
    this.#objects = [];
    this.#bytes = 0;
    this.#inFlight = bytes;
    try {
      await this.#ground.storage.apply({ objects, branches: [], replies: [] });
    } catch (error) {
      // For the next try: chunks come before the lists that name them.
      this.#objects = [...objects, ...this.#objects];
      this.#bytes += bytes;
      throw error;
    } finally {
      this.#inFlight = 0;
    }
  }

  #gap(offset: number): VlinderError {
    return new VlinderError("conflict", `a part at ${offset} where ${this.#received} bytes are here`, {
      details: { upload: this.id, offset, received: this.#received },
      remedy: "send the parts before it first",
    });
  }

  #ended(end: number): VlinderError {
    const size = this.#whole?.size ?? this.#received;
    return new VlinderError("conflict", `a part that ends at ${end} of an upload of ${size} bytes`, {
      details: { upload: this.id, size },
      remedy: "begin another upload for another value",
    });
  }
}

function tooLarge(size: number): VlinderError {
  return new VlinderError("too_large", `a value of more than ${LIMITS.uploadBytes} bytes`, {
    details: { limit: LIMITS.uploadBytes, size },
    remedy: "store it as several keys",
  });
}
