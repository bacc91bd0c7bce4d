import type { Hash } from "@vlinder/protocol";
import { reusedId } from "../asked.ts";
import type { Idempotency } from "../batch.ts";
import { TwoGenerations } from "../two-generations.ts";

/** Of the newest requests so many are remembered, at most twice that. */
const MOST = 10_000;

/** Replies by the ids of their requests, as long as a turn is open: the same request again joins the first, or gets its reply. */
export class ReplyMemory<T> {
  readonly #replies = new TwoGenerations<string, { readonly request: Hash; readonly reply: T | Promise<T> }>(MOST);

  /** @throws conflict, when the id was used for another request; what `work` throws: what was refused may be asked again */
  once(asked: Idempotency | undefined, work: () => T | Promise<T>): T | Promise<T> {
    if (asked === undefined) return work();
    const { id, request } = asked;
    const known = this.#replies.get(id);
    if (known !== undefined) {
      if (known.request === request) return known.reply;
      throw reusedId(id);
    }
    const reply = work();
    const keep = (settled: T | Promise<T>): void => this.#replies.set(id, { request, reply: settled });
    keep(reply);
    if (reply instanceof Promise) reply.then(keep, () => this.#replies.delete(id));
    return reply;
  }
}
