import { isDeepStrictEqual } from "node:util";
import { reusedId } from "../asked.ts";
import { TwoGenerations } from "../two-generations.ts";

/** Of the newest requests so many are remembered, at most twice that. */
const MOST = 10_000;

/** Replies by the ids of their requests, as long as a turn is open: the same request again joins the first, or gets its reply. */
export class ReplyMemory<T> {
  readonly #replies = new TwoGenerations<string, { readonly request: unknown; readonly reply: T | Promise<T> }>(MOST);

  /**
   * @param request what makes it the same as another one with its id
   * @throws conflict, when the id was used for another request; what `work` throws: what was refused may be asked again
   */
  once(id: string | undefined, request: unknown, work: () => T | Promise<T>): T | Promise<T> {
    if (id === undefined) return work();
    const known = this.#replies.get(id);
    if (known !== undefined) {
      if (isDeepStrictEqual(known.request, request)) return known.reply;
      throw reusedId(id);
    }
    const reply = work();
    const keep = (settled: T | Promise<T>): void => this.#replies.set(id, { request, reply: settled });
    keep(reply);
    if (reply instanceof Promise) reply.then(keep, () => this.#replies.delete(id));
    return reply;
  }
}
