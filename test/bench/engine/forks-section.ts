import { join } from "node:path";
import { MAIN, parseBranchName } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { figure, kilobytes, milliseconds } from "../figures.ts";
import { latencyOf, timesOf } from "../measure.ts";
import { EngineStore } from "../states/engine-store.ts";
import { anyKey } from "../values.ts";

/** What a fork costs: time, and bytes on disk. */
export async function forksSection(bench: Bench): Promise<void> {
  const { middle, forks } = bench.sizes;
  const { path, agent } = await bench.states.copyOf(middle, join(await bench.folder(), "forks.db"));
  const store = await EngineStore.open(path, agent);
  // Not at a commit whose tree happens to be stored.
  for (let i = 0; i < 7; i++) await store.put([anyKey(middle)]);
  const before = await store.size();
  bench.progress(`forks: ${figure(forks)} of a state of ${figure(middle)} keys`);
  let n = 0;
  const fork = async (): Promise<void> => {
    await store.engine.fork(parseBranchName(`fork-${n++}`), store.engine.branch(MAIN).head);
  };
  // One at a time each waits for its own fsync; asked for together, as 1,000 branches are, for a few in all.
  const times = await timesOf(forks, fork);
  const bytes = (await store.size()) - before;
  const started = performance.now();
  await Promise.all(Array.from({ length: forks }, fork));
  const together = performance.now() - started;
  await store.close();
  const section = "forks";
  bench.report.ratio(section, "fork-time", together / forks, `${milliseconds(together)} for ${figure(forks)} forks`);
  bench.report.ratio(section, "fork-bytes", bytes / forks / 1024, `${kilobytes(bytes)} over ${figure(forks)} forks`);
  const { p50, p99 } = latencyOf(times);
  bench.report.table({
    section,
    title: `Forks of a state of ${figure(middle)} keys, in process`,
    columns: ["forks", "one at a time: each p50 / p99", "all", "asked for together: all", "on disk, each"],
    rows: [
      [
        figure(forks),
        `${milliseconds(p50)} / ${milliseconds(p99)}`,
        milliseconds(times.reduce((sum, time) => sum + time, 0)),
        milliseconds(together),
        kilobytes(bytes / forks),
      ],
    ],
  });
}
