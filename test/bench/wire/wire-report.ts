import type { Bench } from "../bench.ts";
import { figure, kilobytes, milliseconds, NONE, perSecond } from "../figures.ts";
import type { RatioName } from "../limits.ts";
import type { Rounds } from "../measure.ts";
import { BIG_BYTES, BIG_KEYS } from "../values.ts";

export type Who = "vlinder" | "plain" | "jetstream" | "always" | "everysec" | "redis" | "agentfs" | "echo";
type Op = "put" | "get";
export type Name = `${Who} ${Op} ${"p50" | "p99" | "rate" | "count" | "written"}`;

export interface Participant {
  readonly who: Who;
  readonly name: string;
  /** Why there are no figures of it. */
  readonly missing: string | null;
}

export interface Combination {
  readonly keys: number;
  readonly valueBytes: number;
  readonly rounds: Rounds<Name>;
}

const RATES: readonly [RatioName, Who, Op, Who][] = [
  ["puts/jetstream", "vlinder", "put", "jetstream"],
  ["puts/jetstream-always", "vlinder", "put", "always"],
  ["gets/jetstream", "vlinder", "get", "jetstream"],
  ["plain-puts/jetstream", "plain", "put", "jetstream"],
  ["puts/redis-always", "vlinder", "put", "redis"],
  ["gets/redis", "vlinder", "get", "redis"],
  ["puts/agentfs", "vlinder", "put", "agentfs"],
];
const LATENCIES: readonly [RatioName, Who, Op, Who][] = [
  ["put-p50/jetstream-always", "vlinder", "put", "always"],
  ["get-p50/echo", "vlinder", "get", "echo"],
  ["put-p50/jetstream", "vlinder", "put", "jetstream"],
  ["get-p50/agentfs", "vlinder", "get", "agentfs"],
];
const section = "wire";

/** The first combination is the one that the limits are about. */
export function reportWire(
  bench: Bench,
  combinations: readonly Combination[],
  participants: readonly Participant[],
): void {
  const [main] = combinations;
  if (main === undefined) return;
  const { rounds } = main;
  const missing = new Map(participants.map(({ who, missing: why }) => [who, why]));
  for (const [name, a, op, b] of RATES) {
    const both = `${perSecond(rounds.median(`${a} ${op} rate`))} / ${perSecond(rounds.median(`${b} ${op} rate`))}`;
    bench.report.ratio(section, name, rounds.ratio(`${a} ${op} rate`, `${b} ${op} rate`), missing.get(b) ?? both);
  }
  for (const [name, a, op, b] of LATENCIES) {
    const both = `${milliseconds(rounds.median(`${a} ${op} p50`))} / ${milliseconds(rounds.median(`${b} ${op} p50`))}`;
    bench.report.ratio(section, name, rounds.ratio(`${a} ${op} p50`, `${b} ${op} p50`), missing.get(b) ?? both);
  }
  ratiosEverywhere(bench, combinations);
  const bySize = combinations.toSorted((a, b) => a.keys - b.keys || a.valueBytes - b.valueBytes);
  for (const combination of bySize) table(bench, combination, participants);
}

/** The limits are about one combination; this is how the others differ. */
function ratiosEverywhere(bench: Bench, combinations: readonly Combination[]): void {
  const ratio = ({ rounds }: Combination, a: Name, b: Name): string => {
    const value = rounds.ratio(a, b);
    return Number.isNaN(value) ? NONE : `${figure(value)}×`;
  };
  bench.report.table({
    section,
    title: "Over NATS: ratios at every size",
    columns: [
      "",
      "puts to JetStream KV, 64 in flight",
      "to its sync always",
      "one put at a time to its sync always, p50",
      "gets to JetStream KV, 64 in flight",
      "one get at a time to an echo, p50",
      "puts one message each to JetStream KV",
    ],
    rows: combinations.map((one) => [
      `${figure(one.keys)} keys, ${figure(one.valueBytes)} B`,
      ratio(one, "vlinder put rate", "jetstream put rate"),
      ratio(one, "vlinder put rate", "always put rate"),
      ratio(one, "vlinder put p50", "always put p50"),
      ratio(one, "vlinder get rate", "jetstream get rate"),
      ratio(one, "vlinder get p50", "echo get p50"),
      ratio(one, "plain put rate", "jetstream put rate"),
    ]),
    notes: ["The first line is the one that the limits are about; the others are measured in fewer rounds."],
  });
}

function table(bench: Bench, { keys, valueBytes, rounds }: Combination, participants: readonly Participant[]): void {
  const times = (who: Who, op: Op): string =>
    `${milliseconds(rounds.median(`${who} ${op} p50`))} / ${milliseconds(rounds.median(`${who} ${op} p99`))}`;
  bench.report.table({
    section,
    title: `Over NATS: ${figure(keys)} keys, values of ${figure(valueBytes)} B`,
    columns: [
      "",
      "put p50 / p99",
      "puts, 64 in flight",
      "written to disk a put",
      "get p50 / p99",
      "gets, 64 in flight",
    ],
    rows: participants.map(({ who, name, missing }) =>
      missing !== null
        ? [`${name}: ${missing}`, ...Array<string>(5).fill(NONE)]
        : [
            name,
            times(who, "put"),
            perSecond(rounds.median(`${who} put rate`)),
            kilobytes(rounds.sum(`${who} put written`) / rounds.sum(`${who} put count`)),
            times(who, "get"),
            perSecond(rounds.median(`${who} get rate`)),
          ],
    ),
    notes:
      valueBytes === BIG_BYTES
        ? [`Of this size are the values of ${figure(BIG_KEYS)} keys, spread among the others.`]
        : [],
  });
}
