import { type BranchName, type Key, keyText, LIMITS, type ListReply } from "@vlinder/protocol";
import type { Space } from "../state/api.ts";
import type { StateEngine } from "../state/engine.ts";
import { servedBy } from "./agent-access.ts";

export interface PageRequest {
  readonly prefix?: Key | undefined;
  readonly after?: Key | undefined;
  readonly limit?: number | undefined;
  readonly branch?: BranchName | undefined;
  readonly at?: string | undefined;
  readonly turn?: string | undefined;
}

/** Bytes of one item beside its key, in the longer encoding. */
const ITEM = 160;

/** One page of keys in order: at most `limit` of them, and at most what one reply holds. */
export async function page(engine: StateEngine, space: Space, request: PageRequest): Promise<ListReply> {
  const { prefix, after, limit = LIMITS.defaultPage } = request;
  const view = await servedBy(engine, request.turn).stateOf(request.branch, request.at);
  const found = await view.list(space, {
    limit: limit + 1,
    ...(prefix === undefined ? {} : { prefix }),
    ...(after === undefined || after === "" ? {} : { after }),
  });
  let room = LIMITS.replyBytes - 1024;
  let count = 0;
  for (const { key } of found.slice(0, limit)) {
    // JSON writes a control character as six.
    room -= 6 * key.length + ITEM;
    if (room < 0) break;
    count++;
  }
  const items = found.slice(0, count).map(({ key, hash, size }) => ({ key: keyText(key), hash, size }));
  return { items, next: found.length > count ? (items.at(-1)?.key ?? null) : null, state: view.commit };
}
