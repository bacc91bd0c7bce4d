import type { AgentName, Hash } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { figure, milliseconds, perSecond } from "../figures.ts";
import { median, percentile, Rounds, timesOf } from "../measure.ts";
import { EngineStore } from "../states/engine-store.ts";
import type { LongState } from "../states/long-state.ts";
import { below } from "../values.ts";

const CHANGES = 10;
const PLACES = ["in process", "agent-runtime"] as const;
type Place = (typeof PLACES)[number];
const WHAT = ["head", "first", "again", "each", "diff", "diff back"] as const;
type What = (typeof WHAT)[number];
type Name = `${Place} ${What} ${"p50" | "p99"}`;

/** Reads and diffs of a state with a long history, wherever it is open. */
interface Reads {
  get(key: string, at?: Hash): Promise<unknown>;
  /** How many keys differ. */
  diff(from: Hash, to: Hash): Promise<number>;
}

/** What the past costs: reads far back, and diffs of few changes in many keys. */
export async function historySection(bench: Bench): Promise<void> {
  const long = await bench.states.long();
  const rounds = new Rounds<Name>();
  const walk = new Walk(bench, long, rounds);

  const store = await EngineStore.open(long.path, long.agent);
  for (let round = 0; round < walk.rounds; round++) {
    bench.progress(`history: in process, round ${round + 1} of ${walk.rounds}`);
    await store.reopen();
    await walk.round("in process", round, store);
  }
  await store.close();

  for (let round = 0; round < walk.rounds; round++) {
    bench.progress(`history: through the daemon, round ${round + 1} of ${walk.rounds}`);
    const daemon = await bench.startDaemon(long.home);
    await daemon.register(long.agent);
    const vlinder = await daemon.connect(long.agent);
    await walk.round("agent-runtime", round, {
      get: (key, at) => (at === undefined ? vlinder : vlinder.at(at)).kv.get(key),
      diff: async (from, to) => {
        const { items } = await vlinder.client.request(long.agent as AgentName, "timeline.diff", { from, to });
        return items.length;
      },
    });
    await daemon.stop();
  }
  report(bench, long, rounds);
}

/** Goes through the commits that are kept of the past, so that no round touches one that an earlier one has. */
class Walk {
  readonly rounds: number;
  readonly #each: number;
  readonly #long: LongState;
  readonly #found: Rounds<Name>;

  constructor(bench: Bench, long: LongState, found: Rounds<Name>) {
    this.rounds = bench.scale(5, 2);
    this.#each = bench.scale(300, 60);
    this.#long = long;
    this.#found = found;
  }

  async round(place: Place, round: number, state: Reads): Promise<void> {
    const { recent } = this.#long;
    // Diffs have commits of their own, and every round has: what is read must not have been read before.
    const end = Math.floor((this.#long.past.length * 2) / 3);
    const [past, between] = [this.#long.past.slice(0, end), this.#long.past.slice(end)];
    const key = (): string => this.#long.keyAt(below(this.#long.known));
    const each = this.#each;
    const commit = (n: number): Hash => past[((round * (each + 1) + n) * 997) % end] as Hash;
    const note = (what: What, times: readonly number[]): void => {
      this.#found.add(`${place} ${what} p50`, median(times));
      this.#found.add(`${place} ${what} p99`, percentile(times, 0.99));
    };
    await timesOf(each, () => state.get(key()));
    note("first", await timesOf(1, () => state.get(key(), commit(0))));
    note("head", await timesOf(each, () => state.get(key())));
    note("again", await timesOf(each, () => state.get(key(), commit(0))));
    let n = 1;
    note("each", await timesOf(each, () => state.get(key(), commit(n++))));
    const diff = async (commits: readonly Hash[]): Promise<void> => {
      const from = below(commits.length - CHANGES);
      const changes = await state.diff(commits[from] as Hash, commits[from + CHANGES] as Hash);
      if (changes !== CHANGES) throw new Error(`a diff of ${CHANGES} changes shows ${changes}`);
    };
    note("diff", await timesOf(each / 4, () => diff(recent)));
    note("diff back", await timesOf(each / 4, () => diff(between)));
  }
}

function report(bench: Bench, long: LongState, rounds: Rounds<Name>): void {
  const section = "history";
  const { back } = bench.sizes;
  const p50 = (name: `${Place} ${What}`): string => milliseconds(rounds.median(`${name} p50`));
  const reads = (name: "read-back/read-head" | "read-back-again/read-head", what: What): void =>
    bench.report.ratio(
      section,
      name,
      rounds.ratio(`in process ${what} p50`, "in process head p50"),
      `${p50(`in process ${what}`)} / ${p50("in process head")}`,
    );
  reads("read-back/read-head", "each");
  reads("read-back-again/read-head", "again");
  bench.report.ratio(
    section,
    "wire-read-back/read-head",
    rounds.ratio("agent-runtime each p50", "agent-runtime head p50"),
    `${p50("agent-runtime each")} / ${p50("agent-runtime head")}`,
  );
  for (const [name, place] of [
    ["diff/gets", "in process"],
    ["wire-diff/gets", "agent-runtime"],
  ] as const) {
    const [diff, head]: [Name, Name] = [`${place} diff p50`, `${place} head p50`];
    const gets = milliseconds(100 * rounds.median(head));
    bench.report.ratio(section, name, rounds.ratio(diff, head) / 100, `${p50(`${place} diff`)} / ${gets}`);
  }
  const times = (name: `${Place} ${What}`): string => `${p50(name)} / ${milliseconds(rounds.median(`${name} p99`))}`;
  bench.report.table({
    section,
    title: `The past: ${figure(long.keys)} commits of a new key each, one read at a time, p50 / p99`,
    columns: [
      "",
      "read at the head",
      `the first read at a commit ${figure(back)} back`,
      "reads at that commit",
      "reads, each at another commit there",
      `diff of ${CHANGES} changes near the head`,
      `diff of ${CHANGES} changes ${figure(back)} back`,
    ],
    rows: PLACES.map((place) => [
      place,
      ...WHAT.map((what) => (what === "first" ? p50(`${place} first`) : times(`${place} ${what}`))),
    ]),
    notes: [`The history was put in process at ${perSecond(long.putRate)}, two transactions of 64 under way.`],
  });
}
