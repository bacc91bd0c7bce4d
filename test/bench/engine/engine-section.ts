import { join } from "node:path";
import type { Bench } from "../bench.ts";
import { bytesWritten } from "../io.ts";
import { latencyOf, median, Rounds } from "../measure.ts";
import { aim, figure, kilobytes, milliseconds, must, perSecond } from "../report.ts";
import { EngineStore } from "./engine-store.ts";
import { FlatSnapshots } from "./flat-snapshots.ts";
import { RawTable } from "./raw-table.ts";

const TRANSACTION = 64;

/**
 * `each`: milliseconds a put, 64 a transaction; `cpu`: of all threads, without waiting for disk or a core;
 * `one`, `one99`: one at a time; `written`: bytes; `get`: milliseconds.
 */
type What = "each" | "cpu" | "one" | "one99" | "written" | "get";
type Name = `${number} ${What}` | "raw each" | "raw cpu" | "raw written" | `flat ${number}`;

/** The engine without NATS: what does a put cost as the state grows, and what do simpler things cost? */
export async function engineSection(bench: Bench): Promise<void> {
  const sizes = bench.options.quick ? [1_000, 100_000] : [1_000, 100_000, 1_000_000];
  const folder = await bench.folder();
  const stores: EngineStore[] = [];
  for (const keys of sizes) {
    const say = (done: number): void => {
      if (done % 100_000 === 0) bench.progress(`engine: filling a state of ${figure(keys)} keys, ${figure(done)}`);
    };
    stores.push(await EngineStore.fill(join(folder, `${keys}.db`), keys, say));
  }
  bench.progress("engine: filling the peers");
  const raw = new RawTable(join(folder, "raw.db"), 100_000);
  const flats = [1_000, 10_000].map((keys) => new FlatSnapshots(join(folder, `flat-${keys}.db`), keys));
  const before = new Map<number, number>();
  for (const store of stores) before.set(store.keys, await store.size());

  const rounds = new Rounds<Name>();
  const puts = TRANSACTION * bench.scale(160, 16);
  const singles = bench.scale(300, 60);
  for (let round = 0; round < bench.rounds; round++) {
    bench.progress(`engine: round ${round + 1} of ${bench.rounds}`);
    for (const store of stores) await measureStore(rounds, store, { puts, singles });
    measureRaw(rounds, raw, puts);
    for (const flat of flats) {
      const count = flat.keys > 1_000 ? 16 : TRANSACTION;
      const started = performance.now();
      flat.put(count);
      rounds.add(`flat ${flat.keys}`, (performance.now() - started) / count);
    }
  }

  const growth = new Map<number, number>();
  for (const store of stores) {
    const grown = (await store.size()) - (before.get(store.keys) ?? 0);
    growth.set(store.keys, grown / (bench.rounds * (puts + singles)));
    await store.close();
  }
  raw.close();
  for (const flat of flats) flat.close();
  report(bench, rounds, sizes, growth, puts);
}

async function measureStore(
  rounds: Rounds<Name>,
  store: EngineStore,
  { puts, singles }: { readonly puts: number; readonly singles: number },
): Promise<void> {
  const written = bytesWritten();
  const cpu = process.cpuUsage();
  const started = performance.now();
  for (let done = 0; done < puts; done += TRANSACTION) await store.put(TRANSACTION);
  rounds.add(`${store.keys} each`, (performance.now() - started) / puts);
  rounds.add(`${store.keys} cpu`, cpuSince(cpu) / puts);
  store.settle();
  if (written !== null) rounds.add(`${store.keys} written`, ((bytesWritten() ?? 0) - written) / puts);
  const times = await timesOf(singles, () => store.put(1));
  const { p50, p99 } = latencyOf(times);
  rounds.add(`${store.keys} one`, p50);
  rounds.add(`${store.keys} one99`, p99);
  rounds.add(`${store.keys} get`, median(await timesOf(singles * 10, () => store.get())));
  store.settle();
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

async function timesOf(count: number, work: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  return times;
}

function measureRaw(rounds: Rounds<Name>, raw: RawTable, puts: number): void {
  const written = bytesWritten();
  const cpu = process.cpuUsage();
  const started = performance.now();
  for (let done = 0; done < puts; done += TRANSACTION) raw.put(TRANSACTION);
  rounds.add("raw each", (performance.now() - started) / puts);
  rounds.add("raw cpu", cpuSince(cpu) / puts);
  raw.settle();
  if (written !== null) rounds.add("raw written", ((bytesWritten() ?? 0) - written) / puts);
}

function report(
  bench: Bench,
  rounds: Rounds<Name>,
  sizes: readonly number[],
  growth: ReadonlyMap<number, number>,
  puts: number,
): void {
  const section = "engine";
  const largest = sizes.at(-1) as number;
  const [big, small] = [figure(largest), "1,000"];
  const compared = (what: string, kind: What, show: (value: number) => string): void => {
    const [a, b]: [Name, Name] = [`${largest} ${kind}`, `1000 ${kind}`];
    bench.report.ratio({
      section,
      what: `a put with ${big} keys to one with ${small}: ${what}`,
      value: rounds.ratio(a, b),
      of: `${show(rounds.median(a))} / ${show(rounds.median(b))}`,
      limit: must("at most", 4),
    });
  };
  compared("time, 64 a transaction", "each", milliseconds);
  compared("processor time, 64 a transaction", "cpu", milliseconds);
  compared("time, one at a time (p50)", "one", milliseconds);
  if (bytesWritten() !== null) compared("bytes written", "written", kilobytes);
  const grown = (keys: number): number => growth.get(keys) ?? Number.NaN;
  bench.report.ratio({
    section,
    what: `a put with ${big} keys to one with ${small}: growth of the file`,
    value: grown(largest) / grown(1000),
    of: `${kilobytes(grown(largest))} / ${kilobytes(grown(1000))}`,
    limit: must("at most", 4),
  });
  bench.report.ratio({
    section,
    what: `growth of the file per put with ${big} keys`,
    value: grown(largest) / 1024,
    unit: "KB",
    of: `${bench.rounds} × ${figure(puts)} puts`,
    limit: aim("at most", 2.5),
  });
  const rate = (name: Name): string => perSecond(1000 / rounds.median(name));
  bench.report.ratio({
    section,
    what: "puts with 100,000 keys to raw inserts into a table of 100,000 rows",
    value: rounds.ratio("raw each", "100000 each"),
    of: `${rate("100000 each")} / ${rate("raw each")}`,
    limit: aim("at least", 0.6),
  });
  if (largest > 100_000) {
    bench.report.ratio({
      section,
      what: `puts with ${big} keys to puts with 100,000`,
      value: rounds.ratio("100000 each", `${largest} each`),
      of: `${rate(`${largest} each`)} / ${rate("100000 each")}`,
      limit: aim("at least", 0.6),
    });
  }
  bench.report.ratio({
    section,
    what: "puts with 100,000 keys to a flat snapshot per put with 10,000",
    value: rounds.ratio("flat 10000", "100000 each"),
    of: `${rate("100000 each")} / ${rate("flat 10000")}`,
    limit: aim("at least", 100),
  });

  const none = "–";
  bench.report.table({
    section,
    title: "The engine alone, in process",
    columns: [
      "",
      "puts, 64 a transaction",
      "processor time a put",
      "one at a time p50 / p99",
      "file grows",
      "written to disk",
      "get p50",
    ],
    rows: [
      ...sizes.map((keys) => [
        `vlinder, ${figure(keys)} keys`,
        rate(`${keys} each`),
        milliseconds(rounds.median(`${keys} cpu`)),
        `${milliseconds(rounds.median(`${keys} one`))} / ${milliseconds(rounds.median(`${keys} one99`))}`,
        kilobytes(grown(keys)),
        kilobytes(rounds.median(`${keys} written`)),
        milliseconds(rounds.median(`${keys} get`)),
      ]),
      [
        "raw inserts, 100,000 rows",
        rate("raw each"),
        milliseconds(rounds.median("raw cpu")),
        none,
        none,
        kilobytes(rounds.median("raw written")),
        none,
      ],
      ...[1_000, 10_000].map((keys) => [
        `flat snapshot per put, ${figure(keys)} keys`,
        rate(`flat ${keys}`),
        none,
        none,
        none,
        none,
        none,
      ]),
    ],
    notes: [
      "SQLite with `synchronous=FULL`; values of 256 B, new for keys that are there, SHA-256 included; every vlinder " +
        "put has a root hash and a commit of its own. Growth is that of the database file with an empty log. Raw: a " +
        "better-sqlite3 table with a unique index on the hash, no history. Flat: value, JSON of all keys and hashes, commit.",
    ],
  });
}
