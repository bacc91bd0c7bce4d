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
  const times = await timesOf(forks, async () => {
    await store.engine.fork(parseBranchName(`fork-${n++}`), store.engine.branch(MAIN).head);
  });
  const bytes = (await store.size()) - before;
  await store.close();
  const section = "forks";
  bench.report.ratio(section, "fork-bytes", bytes / forks / 1024, `${kilobytes(bytes)} over ${figure(forks)} forks`);
  const { p50, p99 } = latencyOf(times);
  bench.report.table({
    section,
    title: `Forks of a state of ${figure(middle)} keys, in process`,
    columns: ["forks", "each p50 / p99", "all", "on disk, each"],
    rows: [
      [
        figure(forks),
        `${milliseconds(p50)} / ${milliseconds(p99)}`,
        milliseconds(times.reduce((sum, time) => sum + time, 0)),
        kilobytes(bytes / forks),
      ],
    ],
  });
}
