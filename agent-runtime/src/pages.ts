import type { Hash } from "@vlinder/protocol";

interface PageOf<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
  readonly state: Hash;
}

/**
 * Every item of all pages, fetched as they are needed. The pages behind the first are read at its
 * state, so that what is written meanwhile neither shows up nor goes missing halfway.
 */
export async function* allPages<Item>(
  fetch: (position: { after?: string; at?: string }) => Promise<PageOf<Item>>,
): AsyncGenerator<Item, void> {
  let page = await fetch({});
  const at = page.state;
  for (;;) {
    yield* page.items;
    if (page.next === null) return;
    page = await fetch({ after: page.next, at });
  }
}
