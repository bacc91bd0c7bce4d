import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Hash } from "@vlinder/protocol";
import { figure } from "../figures.ts";
import { keyAt } from "../values.ts";
import { Daemon } from "../wire/daemon.ts";
import { EngineStore } from "./engine-store.ts";
import type { Place, StateFile } from "./state-file.ts";

export const TRANSACTION = 64;
/** Commits around a place in the past of which the hashes are kept. */
const WINDOW = 3000;

/** A state that was made by small commits alone, each of a new key. */
export interface LongState extends StateFile {
  /** A vlinder home with the agent's file in its place. */
  readonly home: string;
  /** How fast the commits were put, per second. */
  readonly putRate: number;
  /** Commits one after another, about `sizes.back` before the head. */
  readonly past: readonly Hash[];
  /** The last ones. */
  readonly recent: readonly Hash[];
  /** A key that is there at every commit of `past`: `n` is below `known`. */
  keyAt(n: number): string;
  readonly known: number;
}

/** So many commits of a key each, 64 a transaction, in an order that is not that of the keys. */
export async function makeLong(place: Place, agent: string, commits: number): Promise<LongState> {
  const home = join(await place.folder(), "home");
  const path = Daemon.fileOf(home, agent);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const store = await EngineStore.open(path, agent);
  const nth = (n: number): string => keyAt((n * 7919) % commits);
  function* batches(): Generator<string[]> {
    for (let from = 0; from < commits; from += TRANSACTION) {
      const count = Math.min(TRANSACTION, commits - from);
      yield Array.from({ length: count }, (_, i) => nth(from + i));
    }
  }
  const back = Math.min(place.sizes.back, Math.floor(commits / 2));
  const window = Math.min(WINDOW, Math.floor(back / 5));
  const [first, last] = [commits - back - window / 2, commits - back + window / 2];
  const past: Hash[] = [];
  const recent: Hash[] = [];
  let done = 0;
  const started = performance.now();
  await store.putOverlapped(batches(), (hashes) => {
    for (const hash of hashes) {
      if (done >= first && done < last) past.push(hash);
      if (done >= commits - window) recent.push(hash);
      done++;
    }
    if (done % 64_000 === 0) place.progress(`a history of ${figure(commits)} commits: ${figure(done)}`);
  });
  const putRate = (commits * 1000) / (performance.now() - started);
  await store.close();
  return { agent, path, keys: commits, home, putRate, past, recent, keyAt: nth, known: Math.floor(first) };
}
