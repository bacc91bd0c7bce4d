import { VlinderError } from "@vlinder/protocol";
import { networkError } from "./http-error.ts";

/** Replies up to this are read at once. */
const SMALL = 1 << 20;
/** A reply in JSON is read at once whatever its size; a larger one is none of a service that means well. */
const MAX_JSON = 64 << 20;

/** One try of a request: its signal, and what ends it. */
export class HttpTry {
  readonly name: string;
  readonly uri: string;
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #onEnd: () => void;
  readonly #onOuter = (): void => this.abort(this.#outer?.reason);

  constructor(name: string, uri: string, outer: AbortSignal | undefined, onEnd: () => void) {
    this.name = name;
    this.uri = uri;
    this.#outer = outer;
    this.#onEnd = onEnd;
    outer?.addEventListener("abort", this.#onOuter);
    if (outer?.aborted) this.#onOuter();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** The try is over: nothing ends it any more. */
  end(): void {
    this.#outer?.removeEventListener("abort", this.#onOuter);
    this.#onEnd();
  }

  /** Gives up, and aborts, after `ms`. */
  async within<T>(ms: number, work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.abort(this.#timeout(ms)), ms);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  #timeout(ms: number): VlinderError {
    return new VlinderError(
      "unavailable",
      `${this.name} of the bucket ${this.uri} failed: no answer in ${Math.ceil(ms)} ms`,
      {
        remedy: "check the connection; it is tried again",
        details: { bucket: this.uri, code: "ETIMEDOUT" },
      },
    );
  }
}

/** The reply with a body that does not hang: a small one read here, a large one under watch. */
export async function guardedBody(response: Response, attempt: HttpTry, idle: number): Promise<Response> {
  if (response.body === null) {
    attempt.end();
    return response;
  }
  const stream = watched(response.body, attempt, idle);
  const length = Number(response.headers.get("content-length") ?? Infinity);
  const isJson = (response.headers.get("content-type") ?? "").includes("json");
  if (length > SMALL && !isJson) return likeIt(response, stream);
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of stream) {
    parts.push(part);
    bytes += part.length;
    if (bytes > MAX_JSON) throw new Error("the reply is larger than it may be");
  }
  return likeIt(response, Buffer.concat(parts));
}

function likeIt(response: Response, body: Buffer<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>): Response {
  const { headers, status, statusText, url, redirected } = response;
  const copy = new Response(body, { headers, status, statusText });
  // Those who read them (where a redirect led) must not find them empty.
  return Object.defineProperties(copy, { url: { value: url }, redirected: { value: redirected } });
}

function watched(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  attempt: HttpTry,
  idle: number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller): Promise<void> {
      try {
        const { done, value } = await attempt.within(idle, reader.read());
        if (!done) return controller.enqueue(value);
        attempt.end();
        controller.close();
      } catch (error) {
        attempt.end();
        throw networkError(error, attempt.name, attempt.uri);
      }
    },
    async cancel(reason): Promise<void> {
      attempt.end();
      await reader.cancel(reason);
    },
  });
}
