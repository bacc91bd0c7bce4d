import { LIMITS } from "@vlinder/protocol";

interface Page {
  readonly items: readonly unknown[];
  /** Where the rest begins. */
  readonly next: string | null;
}

interface Collected<Reply extends Page> {
  /** The first page's reply. */
  readonly first: Reply;
  readonly items: Reply["items"][number][];
  readonly next: Reply["next"];
}

/** How many to ask for in the next page when so many are wanted in all (null: everything). */
function pageSize(wanted: number | null, have: number): number {
  return wanted === null ? LIMITS.page : Math.min(LIMITS.page, wanted - have);
}

/** The items of a paged reply from its beginning, at most `wanted`. */
export async function collect<Reply extends Page>(
  wanted: number | null,
  ask: (after: string | undefined, limit: number, first: Reply | null) => Promise<Reply>,
): Promise<Collected<Reply>> {
  const first = await ask(undefined, pageSize(wanted, 0), null);
  const items: Reply["items"][number][] = [...first.items];
  let next: Reply["next"] = first.next;
  while (next !== null && (wanted === null || items.length < wanted)) {
    const page: Reply = await ask(next, pageSize(wanted, items.length), first);
    for (const item of page.items) items.push(item);
    next = page.next;
  }
  return { first, items, next };
}
