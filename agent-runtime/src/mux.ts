import {
  asBuffer,
  ERROR_CODE_HEADER,
  ERROR_HEADER,
  PART_HEADER,
  PROGRESS_HEADER,
  type VlinderError,
} from "@vlinder/protocol";
import { Events, type Msg, type NatsConnection, nuid, type Status } from "nats";
import { closed, denied, lost, noResponder, timedOut, tooLarge } from "./exchange-error.ts";

/** What came back: the body, and whether it is an error's. */
export interface Reply {
  readonly body: Uint8Array;
  /** The text of the error header; null when it is no error. */
  readonly error: string | null;
}

export interface Exchange {
  readonly subject: string;
  readonly body: Uint8Array;
  /** Milliseconds to the reply, or to the next message about progress. */
  readonly timeout: number;
  readonly onProgress?: ((body: Uint8Array) => void) | undefined;
  /** Called for each part of a streamed answer, with its number. */
  readonly onPart?: ((number: number, body: Uint8Array) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly exchange: Exchange;
  resolve(reply: Reply): void;
  reject(error: unknown): void;
  /** When it has waited long enough, as `performance.now()` says. */
  deadline: number;
}

/** Node's timers take no more milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Requests and replies over one inbox subscription, `<inbox>.<random>.*`, one token a request.
 * (The client library has both, but its requests take one reply only, and its way to take several
 * drops the headers.) An exchange is one try: a lost connection, a timeout and a subject without a
 * responder reject it as `unavailable` or `timeout`; trying again is the caller's.
 */
export class Mux {
  readonly connection: NatsConnection;
  private readonly prefix: string;
  private pending = new Map<string, Pending>();
  private tokens = 0;
  /**
   * Tokens of requests that had their one reply, to be used again: what the server knows of a subject it need not work out anew.
   * One whose request was given up is not among them, as its reply may still come.
   */
  private readonly free: string[] = [];
  /** One timer for all: most requests are answered long before their deadline. */
  private timer: NodeJS.Timeout | undefined;
  /** When it goes off; infinite: it does not. */
  private alarm = Number.POSITIVE_INFINITY;
  private connected = true;
  private wakers: (() => void)[] = [];
  /** Why nothing can be asked any more: closed, or the inbox is forbidden. */
  private dead: VlinderError | null = null;

  constructor(connection: NatsConnection, inbox: string) {
    this.connection = connection;
    this.prefix = `${inbox}.${nuid.next()}.`;
    connection.subscribe(`${this.prefix}*`, {
      callback: (error, message) => {
        if (error === null) this.receive(message);
        else this.die(denied(`${this.prefix}*`, error));
      },
    });
    void this.watchStatus();
    void connection.closed().then((error) => this.die(closed(error)));
  }

  /** @throws unavailable, timeout, denied, too_large, or the signal's reason */
  exchange(exchange: Exchange): Promise<Reply> {
    const { subject, body, signal } = exchange;
    const limit = this.connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    return new Promise<Reply>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.dead !== null) throw this.dead;
      if (!this.connected) throw lost();
      if (body.length > limit) throw tooLarge(body.length, limit);
      const token = this.free.pop() ?? (++this.tokens).toString(36);
      const deadline = performance.now() + exchange.timeout;
      if (signal === undefined) {
        this.pending.set(token, { exchange, deadline, resolve, reject });
      } else {
        const abort = (): void => this.settle(token)?.reject(signal.reason);
        const unhook = (): void => signal.removeEventListener("abort", abort);
        this.pending.set(token, {
          exchange,
          deadline,
          resolve: (reply) => (unhook(), resolve(reply)),
          reject: (error) => (unhook(), reject(error)),
        });
        signal.addEventListener("abort", abort);
      }
      this.wakeBy(deadline);
      try {
        this.connection.publish(subject, body, { reply: this.prefix + token });
      } catch (cause) {
        this.settle(token)?.reject(closed(cause));
      }
    });
  }

  /** Whether the connection is there, or came back within so many milliseconds. */
  async ready(timeout: number): Promise<boolean> {
    if (this.dead !== null) throw this.dead;
    if (this.connected) return true;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.wakers.push(resolve);
      timer = setTimeout(resolve, timeout);
    });
    clearTimeout(timer);
    return this.connected;
  }

  async close(): Promise<void> {
    this.die(closed(undefined));
    await this.connection.close();
  }

  private receive(message: Msg): void {
    const token = message.subject.slice(this.prefix.length);
    const pending = this.pending.get(token);
    // A reply that comes after its timeout: the try behind it gets the same one by its id.
    if (pending === undefined) return;
    const { headers } = message;
    if (headers?.code === 503 && message.data.length === 0) {
      this.settle(token)?.reject(noResponder(pending.exchange.subject));
    } else if (headers?.has(PROGRESS_HEADER)) {
      pending.deadline = performance.now() + pending.exchange.timeout;
      this.report(token, () => pending.exchange.onProgress?.(message.data));
    } else if (headers?.has(PART_HEADER)) {
      pending.deadline = performance.now() + pending.exchange.timeout;
      this.report(token, () => pending.exchange.onPart?.(Number(headers.get(PART_HEADER)), asBuffer(message.data)));
    } else {
      const failed = headers !== undefined && (headers.has(ERROR_CODE_HEADER) || headers.has(ERROR_HEADER));
      const error = failed ? headers.get(ERROR_HEADER) || headers.get(ERROR_CODE_HEADER) : null;
      this.settle(token)?.resolve({ body: asBuffer(message.data), error });
      const { onProgress, onPart } = pending.exchange;
      if (onProgress === undefined && onPart === undefined) this.free.push(token);
    }
  }

  /** A callback that throws ends its own request, and not the connection that it is called from. */
  private report(token: string, tell: () => void): void {
    try {
      tell();
    } catch (error) {
      this.settle(token)?.reject(error);
    }
  }

  /** Takes an exchange off the list; undefined when it was settled before. */
  private settle(token: string): Pending | undefined {
    const pending = this.pending.get(token);
    if (pending === undefined) return undefined;
    this.pending.delete(token);
    // Dead tables of an old one would keep what is over until all of memory is collected.
    if (this.pending.size === 0) this.pending = new Map();
    return pending;
  }

  private wakeBy(deadline: number): void {
    if (deadline >= this.alarm) return;
    clearTimeout(this.timer);
    this.alarm = deadline;
    this.timer = setTimeout(() => this.expire(), Math.min(deadline - performance.now(), LONGEST_TIMER));
  }

  /** Rejects what has waited too long. */
  private expire(): void {
    this.alarm = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let next = this.alarm;
    for (const [token, { deadline, exchange }] of this.pending) {
      if (deadline <= now) this.settle(token)?.reject(timedOut(exchange));
      else next = Math.min(next, deadline);
    }
    if (next !== Number.POSITIVE_INFINITY) this.wakeBy(next);
  }

  private rejectAll(error: VlinderError, subject?: string): void {
    for (const [token, { exchange }] of this.pending) {
      if (subject === undefined || exchange.subject === subject) this.settle(token)?.reject(error);
    }
  }

  private async watchStatus(): Promise<void> {
    for await (const status of this.connection.status()) this.onStatus(status);
  }

  private onStatus(status: Status): void {
    if (status.type === Events.Disconnect) {
      // Nothing is kept across a reconnect, on neither side: what is on the way must be asked again.
      this.connected = false;
      this.rejectAll(lost());
    } else if (status.type === Events.Reconnect) {
      this.connected = true;
      this.wake();
    } else if (status.permissionContext?.operation === "publish") {
      const { subject } = status.permissionContext;
      this.rejectAll(denied(subject, status.data), subject);
    }
  }

  private wake(): void {
    for (const waker of this.wakers.splice(0)) waker();
  }

  private die(error: VlinderError): void {
    this.dead ??= error;
    this.connected = false;
    clearTimeout(this.timer);
    this.rejectAll(this.dead);
    this.wake();
  }
}
