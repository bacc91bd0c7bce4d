/**
 * What the daemon sends, one write to the socket for all that a turn of the event loop has: each write is a system call and
 * a packet, which takes longer than what is in it.
 */
export class Outbox {
  #answers: (() => void)[] = [];
  #news: (() => void)[] = [];

  /** Sends when all that is at hand now was looked at, in order. @param send throws nothing */
  answer(send: () => void): void {
    if (this.#answers.push(send) === 1) setImmediate(() => this.#sendAnswers());
  }

  /** Sends behind the answers that are given now, the making of the message too, as who asked waits; in order. @param send throws nothing */
  tell(send: () => void): void {
    if (this.#news.push(send) === 1) setImmediate(() => setImmediate(() => this.#sendNews()));
  }

  /** Sends at once. */
  flush(): void {
    this.#sendAnswers();
    this.#sendNews();
  }

  #sendAnswers(): void {
    const answers = this.#answers;
    this.#answers = [];
    for (const send of answers) send();
  }

  #sendNews(): void {
    const news = this.#news;
    this.#news = [];
    for (const send of news) send();
  }
}
