import type { NatsConnection } from "nats";
import type { Logger } from "pino";

/**
 * What the daemon sends, one write to the socket for all that a turn of the event loop has: each write is a system call and
 * a packet, which takes longer than what is in it.
 */
export class Outbox {
  readonly #connection: Pick<NatsConnection, "flush">;
  readonly #log: Logger;
  #answers: (() => void)[] = [];
  #news: (() => void)[] = [];
  /** News whose answers have gone out. */
  #due: (() => void)[] = [];

  constructor(connection: Pick<NatsConnection, "flush">, log: Logger) {
    this.#connection = connection;
    this.#log = log;
  }

  /** Sends when all that is at hand now was looked at, in order. @param send throws nothing */
  answer(send: () => void): void {
    if (this.#answers.push(send) === 1) setImmediate(() => this.#sendAnswers());
  }

  /** Sends behind the answers that are given now, the making of the message too, as who asked waits; in order. @param send throws nothing */
  tell(send: () => void): void {
    if (this.#news.push(send) > 1) return;
    setImmediate(() => {
      this.#due.push(...this.#news.splice(0));
      setImmediate(() => this.#sendDue());
    });
  }

  /**
   * Sends all of it at once, and waits until the server has it, for so many milliseconds at most: it may be gone.
   * @throws what the connection throws
   */
  async flush(milliseconds: number): Promise<void> {
    this.#sendAnswers();
    this.#due.push(...this.#news.splice(0));
    this.#sendDue();
    const late = new Promise<false>((resolve) => setTimeout(() => resolve(false), milliseconds).unref());
    const isSent = await Promise.race([this.#connection.flush().then(() => true), late]);
    if (!isSent) this.#log.warn({ milliseconds }, "NATS did not take all answers and events in time: some may be lost");
  }

  #sendAnswers(): void {
    for (const send of this.#answers.splice(0)) send();
  }

  #sendDue(): void {
    for (const send of this.#due.splice(0)) send();
  }
}
