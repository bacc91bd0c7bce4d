import { decodeVectorRecord, type Hash, type Metric } from "@vlinder/protocol";
import type { VectorStorage } from "../../src/storage/vector-storage.ts";
import { matchesFilter } from "../../src/storage/vectors/filter.ts";
import { openVectorStorage, resetVectorStorage } from "../../src/storage/vectors/open.ts";
import { byScore, score } from "../../src/storage/vectors/score.ts";
import { type SearchQuery, type SearchResult, VectorIndex } from "../../src/vectors/vector-index.ts";
import type { ModelHistory } from "./model-history.ts";

export const quiet = { info: () => {}, warn: () => {} };

/** An index over a model's history; `wrap` may stand in for the storage. */
export function openIndex(
  history: ModelHistory,
  uri: string,
  wrap: (storage: VectorStorage) => VectorStorage = (storage) => storage,
): Promise<VectorIndex> {
  return VectorIndex.open({
    history,
    openStorage: async (dimension, metric) => wrap(await openVectorStorage(uri, { dimension, metric })),
    resetStorage: () => resetVectorStorage(uri),
    log: quiet,
  });
}

/** What a search at a commit means, from the model alone. */
export function expected(history: ModelHistory, commit: Hash, metric: Metric, query: SearchQuery): SearchResult[] {
  const results: SearchResult[] = [];
  for (const { key, hash } of history.held(commit).vectors.values()) {
    const bytes = history.values.get(hash);
    if (bytes === undefined || !key.startsWith(query.prefix ?? "")) continue;
    const { vector, metadata } = decodeVectorRecord(bytes);
    if (vector.length !== query.vector.length || !matchesFilter(metadata, query.filter ?? {})) continue;
    results.push({ key, hash, metadata, score: score(metric, query.vector, vector) });
  }
  return results.sort(byScore).slice(0, query.limit);
}
