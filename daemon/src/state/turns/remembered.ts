import { type Hash, VlinderError } from "@vlinder/protocol";
import type { Idempotency } from "../batch.ts";

/** Replies of an open turn's requests by their ids: the same request again gets the first one's. */
export class Remembered<Reply> {
  readonly #replies = new Map<string, { readonly request: Hash; readonly reply: Reply | Promise<Reply> }>();

  /** @throws conflict, when the id was used for another request */
  once(asked: Idempotency | undefined, work: () => Reply | Promise<Reply>): Reply | Promise<Reply> {
    if (asked === undefined) return work();
    const known = this.#replies.get(asked.id);
    if (known !== undefined) {
      if (known.request === asked.request) return known.reply;
      throw new VlinderError("conflict", `the id "${asked.id}" was used for another request`, {
        details: { id: asked.id },
        remedy: "make a new id for each request; use the same one only to repeat it",
      });
    }
    const reply = work();
    const keep = (settled: Reply | Promise<Reply>): void =>
      void this.#replies.set(asked.id, { request: asked.request, reply: settled });
    keep(reply);
    // What was refused may be asked again.
    if (reply instanceof Promise) reply.then(keep, () => this.#replies.delete(asked.id));
    return reply;
  }
}
