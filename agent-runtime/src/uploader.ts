import { createHash } from "node:crypto";
import {
  type AgentName,
  asVlinderError,
  type Hash,
  LIMITS,
  type Progress,
  VlinderError,
  type ValuePutReply,
} from "@vlinder/protocol";
import type { Client } from "./client.ts";
import { type Content, isRepeatable, partsOf, sizeOf } from "./content.ts";
import { newId } from "./new-id.ts";

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes that the daemon has. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** A value that the daemon has whole and that a put may name. */
export interface Uploaded {
  readonly upload: string;
  readonly hash: Hash;
  readonly size: number;
}

/** Parts in flight at the same time. */
const WINDOW = 4;
/** Rounds, each with the client's retries, in which other clients of the agent may have the daemon's hands full. */
const PATIENCE = 10;
/** Values of one client on their way at the same time; the daemon's limit is for all clients of an agent. */
const AT_ONCE = 2;

/** Sends large values in parts. */
export class Uploader {
  readonly #client: Client;
  readonly #agent: AgentName;
  #free = AT_ONCE;
  readonly #waiting: (() => void)[] = [];

  constructor(client: Client, agent: AgentName) {
    this.#client = client;
    this.#agent = agent;
  }

  /**
   * Sends a value. Where the daemon has lost it on the way (it restarted) all is sent once more, if the
   * content can be read again. @throws VlinderError, what the content throws, the signal's reason
   */
  async send(content: Content, options: UploadOptions = {}): Promise<Uploaded> {
    await this.#enter();
    try {
      return await this.#again(content, () => this.#sendOnce(content, options));
    } finally {
      this.#free++;
      this.#waiting.shift()?.();
    }
  }

  /** Makes the commit that names uploads of these contents; sends again those that the daemon has lost meanwhile. */
  async commit<T>(
    sent: Map<Content, Uploaded>,
    make: (uploads: ReadonlyMap<Content, Uploaded>) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await make(sent);
      } catch (error) {
        const lost = [...sent].find(([, { upload }]) => upload === lostUpload(error));
        if (lost === undefined || attempt >= this.#client.retries) throw error;
        if (!isRepeatable(lost[0])) throw cutOff(error);
        sent.set(lost[0], await this.send(lost[0]));
      }
    }
  }

  async #again<T>(content: Content, work: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (lostUpload(error) === null || attempt >= this.#client.retries) throw error;
        if (!isRepeatable(content)) throw cutOff(error);
      }
    }
  }

  async #enter(): Promise<void> {
    while (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#free--;
  }

  async #sendOnce(content: Content, { signal, onProgress }: UploadOptions): Promise<Uploaded> {
    const upload = newId();
    const sum = createHash("sha256");
    const inFlight: Promise<ValuePutReply>[] = [];
    const total = sizeOf(content);
    let offset = 0;
    const send = async (bytes: Uint8Array, last: { last?: true; hash?: Hash }): Promise<void> => {
      if (inFlight.length === WINDOW) await inFlight.shift();
      const sending = this.#part({ upload, offset, bytes, ...last }, inFlight.at(-1), signal);
      sending.catch(() => undefined); // told where it is awaited
      inFlight.push(sending);
      offset += bytes.length;
      onProgress?.({ what: "sending", done: offset, total, unit: "bytes" });
    };
    try {
      let held: Uint8Array | null = null;
      for await (const part of partsOf(content, LIMITS.valueBytes)) {
        signal?.throwIfAborted();
        if (held !== null) await send(held, {});
        sum.update(part);
        held = part;
      }
      const hash = sum.digest("hex") as Hash;
      await send(held ?? new Uint8Array(), { last: true, hash });
      await Promise.all(inFlight);
      return { upload, hash, size: offset };
    } catch (error) {
      void this.#client.request(this.#agent, "value.drop", { upload }).catch(() => undefined); // else it expires
      throw error;
    }
  }

  /** Sends one part: behind those before it when it overtook them, and later when the daemon has its hands full. */
  async #part(
    part: { readonly upload: string; readonly offset: number; readonly bytes: Uint8Array },
    before: Promise<ValuePutReply> | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ValuePutReply> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#client.request(this.#agent, "value.put", part, signal === undefined ? {} : { signal });
      } catch (error) {
        const { code, details } = asVlinderError(error);
        const overtook = code === "conflict" && "received" in details && before !== undefined;
        const busy = code === "unavailable" && details["limit"] === LIMITS.uploadWindow;
        if (attempt === PATIENCE || !(overtook || busy)) throw error;
        if (overtook) await before;
      }
    }
  }
}

/** The upload that the daemon does not have, where that is what an error says. */
function lostUpload(error: unknown): string | null {
  const upload = error instanceof VlinderError && error.code === "not_found" ? error.details["upload"] : null;
  return typeof upload === "string" ? upload : null;
}

function cutOff(cause: unknown): VlinderError {
  return new VlinderError("unavailable", "the daemon lost the upload on the way, and a stream can't be read again", {
    cause,
    remedy: "put it again from the start; a file given as { size, stream } is sent again by itself",
  });
}
