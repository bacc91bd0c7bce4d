import type { Kind, ObjectReader, StoredObject } from "./object-storage.ts";

/** Objects of one scan: of the largest values about 8 MB. */
const PAGE = 128;

/** Every object of some kinds, some at a time, in the order that the storage reads fastest. */
export async function* sweepObjects(
  reader: ObjectReader,
  ...kinds: readonly Kind[]
): AsyncGenerator<readonly StoredObject[]> {
  if (reader.sweep !== undefined) return yield* reader.sweep(kinds);
  for (const kind of kinds) {
    for (let page = await reader.scan(kind, null, PAGE); page.length > 0;) {
      yield page;
      page = await reader.scan(kind, page.at(-1)?.hash ?? null, PAGE);
    }
  }
}
