import { join } from "node:path";
import type { Bench } from "../bench.ts";
import { bytesWritten } from "../io.ts";
import { latencyOf, median, Rounds, timesOf } from "../measure.ts";
import { EngineStore } from "../states/engine-store.ts";
import { TRANSACTION } from "../states/long-state.ts";
import { anyKey } from "../values.ts";
import { FLAT, type Name, reportEngine } from "./engine-report.ts";
import { FlatSnapshots } from "./flat-snapshots.ts";
import { RawTable } from "./raw-table.ts";

interface Measured {
  readonly keys: number;
  readonly store: EngineStore;
}

/** The engine without NATS: what does a put cost as the state grows, and what do simpler things cost? */
export async function engineSection(bench: Bench): Promise<void> {
  const { small, middle, large } = bench.sizes;
  const folder = await bench.folder();
  const stores: Measured[] = [];
  // What is compared most is measured side by side: the middle one and, after the loop, the raw table.
  for (const keys of [small, FLAT.large, large, middle]) {
    const { path, agent } = await bench.states.copyOf(keys, join(folder, `${keys}.db`));
    stores.push({ keys, store: await EngineStore.open(path, agent) });
  }
  bench.progress("engine: filling the peers");
  const raw = new RawTable(join(folder, "raw.db"), middle);
  const flats = Object.values(FLAT).map((keys) => new FlatSnapshots(join(folder, `flat-${keys}.db`), keys));
  const before = new Map<number, number>();
  for (const { keys, store } of stores) before.set(keys, await store.size());

  const rounds = new Rounds<Name>();
  const puts = TRANSACTION * bench.scale(100, 16);
  const singles = bench.scale(300, 60);
  const count = bench.scale(7, 3);
  // A first round that is not counted: compilers and caches. What it makes the file grow by is.
  for (let round = 0; round <= count; round++) {
    bench.progress(round === 0 ? "engine: warming up" : `engine: round ${round} of ${count}`);
    const into = round === 0 ? new Rounds<Name>() : rounds;
    for (const one of stores) await measureStore(into, one, puts, singles);
    measureRaw(into, raw, puts);
    for (const flat of flats) {
      const several = flat.keys === FLAT.large ? 16 : TRANSACTION;
      const started = performance.now();
      flat.put(several);
      into.add(`flat ${flat.keys}`, (performance.now() - started) / several);
    }
  }

  const growth = new Map<number, number>();
  for (const { keys, store } of stores) {
    const grown = (await store.size()) - (before.get(keys) ?? 0);
    growth.set(keys, grown / ((count + 1) * (2 * puts + singles)));
    await store.close();
  }
  raw.close();
  for (const flat of flats) flat.close();
  reportEngine(bench, { rounds, growth, puts: (count + 1) * (2 * puts + singles) });
}

async function measureStore(
  rounds: Rounds<Name>,
  { store, keys }: Measured,
  puts: number,
  singles: number,
): Promise<void> {
  function* batches(): Generator<string[]> {
    for (let done = 0; done < puts; done += TRANSACTION) {
      yield Array.from({ length: TRANSACTION }, () => anyKey(keys));
    }
  }
  let started = performance.now();
  await store.putInTurn(batches());
  rounds.add(`${keys} turn`, (performance.now() - started) / puts);
  store.settle();
  const written = bytesWritten();
  const cpu = process.cpuUsage();
  const transactions = store.transactions;
  started = performance.now();
  await store.putOverlapped(batches());
  rounds.add(`${keys} each`, (performance.now() - started) / puts);
  rounds.add(`${keys} cpu`, cpuSince(cpu) / puts);
  rounds.add(`${keys} filled`, puts / (store.transactions - transactions));
  store.settle();
  rounds.add(`${keys} written`, (bytesWritten() - written) / puts);
  const { p50, p99 } = latencyOf(await timesOf(singles, () => store.put([anyKey(keys)])));
  rounds.add(`${keys} one`, p50);
  rounds.add(`${keys} one99`, p99);
  rounds.add(`${keys} get`, median(await timesOf(singles * 10, () => store.get(anyKey(keys)))));
  store.settle();
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function measureRaw(rounds: Rounds<Name>, raw: RawTable, puts: number): void {
  const written = bytesWritten();
  const cpu = process.cpuUsage();
  const started = performance.now();
  for (let done = 0; done < puts; done += TRANSACTION) raw.put(TRANSACTION);
  rounds.add("raw each", (performance.now() - started) / puts);
  rounds.add("raw cpu", cpuSince(cpu) / puts);
  raw.settle();
  rounds.add("raw written", (bytesWritten() - written) / puts);
}
