import { type AgentName, type CallHead, type CallPart, decodeBody, LIMITS, VlinderError } from "@vlinder/protocol";
import type { Client } from "./client.ts";
import { newId } from "./new-id.ts";

/** How often the daemon is told that somebody is there, in milliseconds: well within `LIMITS.callIdle`. */
const WORD = LIMITS.callIdle / 3;
/** Once so many bytes were taken, the daemon is told at once. */
const TAKEN = LIMITS.callWindow / 4;
/** An answer with one of these has no body. */
const NO_BODY: ReadonlySet<number> = new Set([101, 204, 205, 304]);

/**
 * One call whose answer comes in parts, as a `Response` with a stream. Parts are counted: one that was lost on the way ends the
 * stream with an error, and no text is ever there with a gap. What was read is acknowledged, so that the provider is held up
 * by a slow reader and not the memory filled.
 */
export class AnswerStream {
  private readonly client: Client;
  private readonly agent: AgentName;
  private readonly signal: AbortSignal | undefined;
  private readonly call = newId();
  /** Ends the waiting for the daemon. */
  private readonly end = new AbortController();
  private readonly head: Promise<Response>;
  private resolveHead: (response: Response) => void = () => {};
  private rejectHead: (error: unknown) => void = () => {};
  private controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  /** Parts that came. */
  private came = 0;
  /** Parts that were read; the head is read at once. */
  private taken = 1;
  /** Bytes that were read and not acknowledged. */
  private silent = 0;
  /** Of parts that came and were not read, oldest first. */
  private readonly waiting: Uint8Array[] = [];
  private over = false;
  /** Why it broke off, once it did. What came before is read first. */
  private broken: { readonly error: unknown } | null = null;
  /** A word is on its way to the daemon. */
  private speaking = false;
  private wanted: (() => void) | null = null;

  constructor(client: Client, agent: AgentName, signal: AbortSignal | undefined) {
    this.client = client;
    this.agent = agent;
    this.signal = signal;
    this.head = new Promise((resolve, reject) => {
      this.resolveHead = resolve;
      this.rejectHead = reject;
    });
  }

  /** Resolves with the answer when its head is there. @throws VlinderError, the signal's reason */
  async send(service: "service.infer" | "service.embed", call: object): Promise<Response> {
    const abort = (): void => this.cancel(this.signal?.reason);
    this.signal?.addEventListener("abort", abort);
    const words = setInterval(() => this.acknowledge(), WORD).unref();
    const request = { ...call, call: this.call, stream: true };
    const options = {
      signal: this.end.signal,
      onPart: (number: number, body: Uint8Array) => this.receive(number, body),
      // So that the wait is not over while the provider thinks.
      onProgress: () => {},
    };
    const reply = this.client.request(this.agent, service, request, options);
    void reply
      .then(
        ({ parts = 0 }) => this.finish(parts),
        (error: unknown) => this.fail(error),
      )
      .finally(() => {
        clearInterval(words);
        this.signal?.removeEventListener("abort", abort);
      });
    return await this.head;
  }

  /** @throws what ends the exchange: a part is missing */
  private receive(number: number, bytes: Uint8Array): void {
    if (this.over) return;
    if (number !== this.came) throw this.lost(this.came);
    this.came++;
    if (number === 0) this.open(decodeBody(bytes) as unknown as CallHead);
    else {
      const { body } = decodeBody(bytes) as unknown as CallPart;
      // The bytes are a view of the message.
      this.waiting.push(body.slice());
      this.wanted?.();
    }
  }

  private open({ status, headers }: CallHead): void {
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => void (this.controller = controller),
        pull: (controller) => this.pull(controller),
        cancel: (reason) => this.cancel(reason),
      },
      // Nothing is taken before it is asked for: what is taken is acknowledged.
      { highWaterMark: 0 },
    );
    const response = new Response(NO_BODY.has(status) ? null : body, { status, headers: { ...headers } });
    this.resolveHead(response);
  }

  private async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    while (this.waiting.length === 0 && !this.over) await new Promise<void>((resolve) => (this.wanted = resolve));
    this.wanted = null;
    const next = this.waiting.shift();
    if (next === undefined) return;
    this.taken++;
    this.silent += next.length;
    controller.enqueue(next);
    if (this.over) this.endWhenRead();
    else if (this.silent >= TAKEN) this.acknowledge();
  }

  private finish(parts: number): void {
    if (this.came === 0 || this.came !== parts) return this.fail(this.lost(this.came));
    this.over = true;
    this.endWhenRead();
    this.wanted?.();
  }

  private endWhenRead(): void {
    if (this.waiting.length > 0) return;
    if (this.broken === null) this.controller?.close();
    else this.controller?.error(this.broken.error);
  }

  private fail(error: unknown): void {
    if (this.over) return;
    this.over = true;
    this.broken = { error };
    // The daemon may not know yet that nobody listens any more.
    if (!(error instanceof VlinderError) || this.came > 0) this.acknowledge(true);
    this.rejectHead(error);
    this.endWhenRead();
    this.wanted?.();
  }

  /** Nobody wants the rest. */
  private cancel(reason: unknown): void {
    if (this.over) return;
    this.waiting.length = 0;
    this.fail(reason);
    this.end.abort(reason);
  }

  /** One word at a time; one that gets lost is followed by another. */
  private acknowledge(cancel = false): void {
    if (this.speaking && !cancel) return;
    this.speaking = true;
    this.silent = 0;
    const word = { call: this.call, received: this.taken, ...(cancel ? { cancel } : {}) };
    this.client
      .request(this.agent, "service.ack", word)
      .catch(() => {})
      .finally(() => (this.speaking = false));
  }

  private lost(part: number): VlinderError {
    return new VlinderError("unavailable", `part ${part} of the answer was lost on its way`, {
      details: { part },
      remedy: "ask again; the whole answer is in the agent's history if the call came to its end",
    });
  }
}
