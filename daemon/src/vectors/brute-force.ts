import type { Hash, Key, Metadata, Metric, VectorFilter } from "@vlinder/protocol";
import type { History, View } from "./history.ts";
import { matchesFilter } from "../storage/vectors/filter.ts";
import { score } from "../storage/vectors/score.ts";
import { Top } from "../storage/vectors/top.ts";
import { type RecordName, readRecords } from "./records.ts";

export interface SearchQuery {
  readonly vector: Float32Array;
  readonly limit: number;
  readonly prefix?: Key;
  readonly filter?: VectorFilter;
}

export interface SearchResult {
  readonly key: Key;
  readonly score: number;
  readonly metadata: Metadata;
  readonly hash: Hash;
}

/** Search among named records by reading each of them: what a search means, and what is left when there is no index. */
export async function bruteForce(
  history: History,
  names: AsyncIterable<RecordName> | Iterable<RecordName>,
  metric: Metric,
  query: SearchQuery,
): Promise<SearchResult[]> {
  const top = new Top<SearchResult>(query.limit);
  // A record that can't be read is `verify`'s to report; it has no place among results.
  for await (const { key, hash, record } of readRecords(history, names, () => {})) {
    if (record.vector.length !== query.vector.length) continue;
    if (query.filter !== undefined && !matchesFilter(record.metadata, query.filter)) continue;
    top.offer({ key, hash, metadata: record.metadata, score: score(metric, query.vector, record.vector) });
  }
  return top.items();
}

const PAGE = 1000;

/** A state's vectors, only those under the prefix where there is one. */
export async function* vectorsOf(view: View, prefix: Key | undefined): AsyncGenerator<RecordName> {
  if (prefix === undefined) {
    yield* view.entries("vectors");
    return;
  }
  for (let after: Key | undefined; ;) {
    const page = await view.list("vectors", { prefix, limit: PAGE, ...(after === undefined ? {} : { after }) });
    yield* page;
    if (page.length < PAGE) return;
    after = (page.at(-1) as RecordName).key;
  }
}
