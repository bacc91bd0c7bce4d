import type { Bench } from "../bench.ts";
import { figure, milliseconds } from "../figures.ts";
import { Rounds } from "../measure.ts";
import { type LongState, makeLong } from "../states/long-state.ts";

const FEW = 1000;
type Name = `${"long" | "short"} ${"ready" | "get"}`;

/** How long a daemon takes to start over a long history, and over a short one. */
export async function startupSection(bench: Bench): Promise<void> {
  const long = await bench.states.long();
  const short = await makeLong(bench, "short", FEW);
  const rounds = new Rounds<Name>();
  const count = bench.scale(7, 2);
  for (let round = 0; round <= count; round++) {
    bench.progress(round === 0 ? "startup: registering" : `startup: round ${round} of ${count}`);
    for (const [name, state] of [["long", long] as const, ["short", short] as const]) {
      // The first start registers the agent, and is not counted.
      const { ready, get } = await start(bench, state, round === 0);
      if (round === 0) continue;
      rounds.add(`${name} ready`, ready);
      rounds.add(`${name} get`, get);
    }
  }
  const [a, b] = [rounds.median("long get"), rounds.median("short get")];
  const of = `${milliseconds(a)} / ${milliseconds(b)}`;
  bench.report.ratio("startup", "startup", rounds.ratio("long get", "short get"), of);
  bench.report.table({
    section: "startup",
    title: "Start of the daemon, from the spawning of its process",
    columns: ["commits, of a new key each", "until it says that it serves", "until the first get is answered"],
    rows: [["long", long] as const, ["short", short] as const].map(([name, { keys }]) => [
      figure(keys),
      milliseconds(rounds.median(`${name} ready`)),
      milliseconds(rounds.median(`${name} get`)),
    ]),
  });
}

/** Milliseconds until each. */
async function start(bench: Bench, state: LongState, register: boolean): Promise<{ ready: number; get: number }> {
  const started = performance.now();
  const daemon = await bench.startDaemon(state.home);
  const ready = performance.now() - started;
  if (register) await daemon.register(state.agent);
  const { kv } = await daemon.connect(state.agent);
  if ((await kv.get(state.keyAt(0))) === null) throw new Error("a key is missing");
  const get = performance.now() - started;
  await daemon.stop();
  return { ready, get };
}
