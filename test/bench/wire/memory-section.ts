import type { Bench } from "../bench.ts";
import { Child } from "../child.ts";
import { figure, megabytes, perSecond } from "../figures.ts";
import { type Memory, memoryOf } from "../io.ts";
import { inFlight } from "../measure.ts";
import { below } from "../values.ts";

const WRITERS = 32;
const READERS = 32;

/** How much memory the daemon takes on a large state with a long history, while it is written and read. */
export async function memorySection(bench: Bench): Promise<void> {
  const long = await bench.states.long();
  const daemon = await bench.startDaemon(long.home);
  await daemon.register(long.agent);
  const { kv } = await daemon.connect(long.agent);
  if ((await kv.get(long.keyAt(0))) === null) throw new Error("a key is missing");
  const idle = memoryOf(daemon.pid);
  bench.progress("memory: under load");
  const writers = await Child.start("wire/writers-process.ts", [
    daemon.home,
    long.agent,
    "sdk",
    String(WRITERS),
    String(long.keys),
  ]);
  bench.onEnd(() => writers.stop());
  const milliseconds = bench.scale(30_000, 4_000);
  await writers.ask("start");
  const gets = await inFlight(READERS, milliseconds, () => kv.get(long.keyAt(below(long.keys))));
  const loaded = memoryOf(daemon.pid);
  const puts = (Number(await writers.ask("stop")) * 1000) / milliseconds;
  await writers.stop();
  await daemon.stop();
  bench.report.ratio(
    "memory",
    "memory",
    loaded.peak / 1024 / 1024,
    `the largest that it was; ${megabytes(idle.now)} idle`,
  );
  bench.report.table({
    section: "memory",
    title: `Memory of the daemon: ${figure(long.keys)} keys, and a commit for each`,
    columns: ["", "resident", "of that, without pages of files", "peak since the start"],
    rows: [
      ["after the first get", ...shown(idle)],
      [
        `after ${figure(milliseconds / 1000)} s of ${perSecond(puts)} puts and ${perSecond(gets.perSecond)} gets`,
        ...shown(loaded),
      ],
    ],
    notes: [
      `Its nats-server is not counted. The load: ${WRITERS} writers on one agent-runtime, ${READERS} readers on another.`,
    ],
  });
}

function shown({ now, anonymous, peak }: Memory): string[] {
  return [megabytes(now), megabytes(anonymous), megabytes(peak)];
}
