import { createHash } from "node:crypto";
import { type Hash, LIMITS, type ValueGetReply, VlinderError } from "@vlinder/protocol";
import { nullIfMissing } from "./scope.ts";

/** Which bytes: from `start` to before `end`, as with `slice`; default all. Both are at most the size. */
export interface ByteRange {
  readonly start?: number;
  readonly end?: number;
}

/** Asks for one part of the value. */
export type Fetch = (request: { offset: number; length: number; at?: string }) => Promise<ValueGetReply>;

/** Parts that are asked for before they are needed. */
const AHEAD = 4;

/** What a key holds at one state, of whatever size: read in parts, when they are asked for. */
export class StoredValue {
  /** SHA-256 of the bytes. */
  readonly hash: Hash;
  readonly size: number;
  /** The commit at which it is read. */
  readonly state: Hash;
  readonly #fetch: Fetch;

  constructor(of: Pick<ValueGetReply, "hash" | "size" | "state">, fetch: Fetch) {
    this.hash = of.hash;
    this.size = of.size;
    this.state = of.state;
    this.#fetch = fetch;
  }

  /** `null` when the key does not exist. */
  static async open(fetch: Fetch): Promise<StoredValue | null> {
    const found = await fetch({ offset: 0, length: 0 }).catch(nullIfMissing);
    return found === null ? null : new StoredValue(found, fetch);
  }

  /**
   * The bytes as a stream; a few parts are held at a time. Read whole, they are checked against the
   * hash at the end. @throws invalid: no such range; internal: other bytes came
   */
  stream(range: ByteRange = {}): ReadableStream<Uint8Array> {
    const parts = this.#parts(this.#checked(range));
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = await parts.next();
          if (done === true) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          await parts.return(undefined);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** The bytes of a range, in memory; default all. */
  async bytes(range: ByteRange = {}): Promise<Uint8Array> {
    const { start, end } = this.#checked(range);
    const whole = new Uint8Array(end - start);
    let at = 0;
    for await (const part of this.#parts({ start, end })) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  #checked({ start = 0, end = this.size }: ByteRange): Required<ByteRange> {
    const fits = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end;
    if (fits && end <= this.size) return { start, end };
    throw new VlinderError("invalid", `a range from ${start} to ${end} of a value of ${this.size} bytes`, {
      details: { start, end, size: this.size },
      remedy: "start and end count bytes from 0 to the value's size, start first",
    });
  }

  async *#parts({ start, end }: Required<ByteRange>): AsyncGenerator<Uint8Array, void> {
    const sum = start === 0 && end === this.size ? createHash("sha256") : null;
    const inFlight: Promise<Uint8Array>[] = [];
    let asked = start;
    try {
      for (;;) {
        while (inFlight.length < AHEAD && asked < end) {
          const part = this.#part(asked, Math.min(LIMITS.valueBytes, end - asked));
          part.catch(() => undefined); // told where it is awaited
          inFlight.push(part);
          asked = Math.min(end, asked + LIMITS.valueBytes);
        }
        const next = inFlight.shift();
        if (next === undefined) break;
        const bytes = await next;
        sum?.update(bytes);
        yield bytes;
      }
    } finally {
      await Promise.allSettled(inFlight);
    }
    if (sum !== null && sum.digest("hex") !== this.hash) throw this.#wrong("their hash is another");
  }

  async #part(offset: number, length: number): Promise<Uint8Array> {
    const { bytes, hash } = await this.#fetch({ offset, length, at: this.state });
    if (hash !== this.hash || bytes.length !== length) throw this.#wrong(`${bytes.length} of ${length} came`);
    return bytes;
  }

  #wrong(what: string): VlinderError {
    return new VlinderError("internal", `the bytes that came are not those of the value ${this.hash}: ${what}`, {
      details: { hash: this.hash },
      remedy: "run `vlinder verify`",
    });
  }
}
