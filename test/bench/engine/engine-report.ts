import type { Bench } from "../bench.ts";
import { figure, kilobytes, milliseconds, NONE, perSecond } from "../figures.ts";
import type { RatioName } from "../limits.ts";
import type { Rounds } from "../measure.ts";

/**
 * `turn`, `each`: milliseconds a put, 64 a transaction, with one under way and with two; `cpu`: of all threads
 * in `each`; `one`, `one99`: one put at a time; `written`: bytes; `get`: milliseconds; `filled`: puts a transaction.
 */
type What = "turn" | "each" | "cpu" | "one" | "one99" | "written" | "get" | "filled";
export type Name = `${number} ${What}` | "raw each" | "raw cpu" | "raw written" | `flat ${number}`;

/** Keys of the flat snapshots. */
export const FLAT = { small: 1_000, large: 10_000 } as const;

interface Found {
  readonly rounds: Rounds<Name>;
  /** Bytes a put, by keys. */
  readonly growth: ReadonlyMap<number, number>;
  readonly puts: number;
}

export function reportEngine(bench: Bench, { rounds, growth, puts }: Found): void {
  const section = "engine";
  const { small, middle, large } = bench.sizes;
  const rate = (name: Name): string => perSecond(1000 / rounds.median(name));
  const ratio = (name: RatioName, a: Name, b: Name, show: (name: Name) => string): void =>
    bench.report.ratio(section, name, rounds.ratio(a, b), `${show(a)} / ${show(b)}`);
  /** Of rates: the rounds have times. */
  const faster = (name: RatioName, a: Name, b: Name): void =>
    bench.report.ratio(section, name, rounds.ratio(b, a), `${rate(a)} / ${rate(b)}`);
  const grows = (name: RatioName, kind: What, show: (value: number) => string): void =>
    ratio(name, `${large} ${kind}`, `${small} ${kind}`, (of) => show(rounds.median(of)));

  faster("engine/raw", `${middle} each`, "raw each");
  faster("engine-one/raw", `${middle} turn`, "raw each");
  faster("engine-large/engine-middle", `${large} each`, `${middle} each`);
  faster("engine/flat", `${FLAT.large} each`, `flat ${FLAT.large}`);
  const grown = (keys: number): number => growth.get(keys) ?? Number.NaN;
  bench.report.ratio(section, "growth-large", grown(large) / 1024, `over ${figure(puts)} puts`);
  grows("grows-time", "each", milliseconds);
  grows("grows-processor", "cpu", milliseconds);
  grows("grows-one", "one", milliseconds);
  grows("grows-written", "written", kilobytes);
  const both = `${kilobytes(grown(large))} / ${kilobytes(grown(small))}`;
  bench.report.ratio(section, "grows-file", grown(large) / grown(small), both);

  bench.report.table({
    section,
    title: "The engine alone, in process",
    columns: [
      "",
      "puts, one transaction at a time",
      "puts, two under way",
      "puts a transaction",
      "processor time a put",
      "one put at a time p50 / p99",
      "file grows",
      "written to disk",
      "get p50",
    ],
    rows: [
      ...[small, FLAT.large, middle, large].map((keys) => [
        `vlinder, ${figure(keys)} keys`,
        rate(`${keys} turn`),
        rate(`${keys} each`),
        figure(rounds.median(`${keys} filled`)),
        milliseconds(rounds.median(`${keys} cpu`)),
        `${milliseconds(rounds.median(`${keys} one`))} / ${milliseconds(rounds.median(`${keys} one99`))}`,
        kilobytes(grown(keys)),
        kilobytes(rounds.median(`${keys} written`)),
        milliseconds(rounds.median(`${keys} get`)),
      ]),
      [
        `raw inserts, ${figure(middle)} rows`,
        rate("raw each"),
        NONE,
        "64",
        milliseconds(rounds.median("raw cpu")),
        NONE,
        NONE,
        kilobytes(rounds.median("raw written")),
        NONE,
      ],
      ...Object.values(FLAT).map((keys) => [
        `flat snapshot a put, ${figure(keys)} keys`,
        rate(`flat ${keys}`),
        ...Array<string>(7).fill(NONE),
      ]),
    ],
  });
}
