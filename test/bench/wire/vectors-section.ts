import type { Bench } from "../bench.ts";
import { milliseconds, perSecond } from "../figures.ts";
import { inFlight, oneAtATime, percentile } from "../measure.ts";

const DIMENSION = 384;
const CLUSTERS = 200;

/** Vectors through agent-runtime: clustered, as embeddings are. */
export async function vectorsSection(bench: Bench): Promise<void> {
  const daemon = await bench.daemon();
  const agent = "vectors";
  await daemon.register(agent, { vectors: true });
  const { vectors } = await daemon.connect(agent);
  const count = bench.scale(20_000, 1_000);
  const centres = Array.from({ length: CLUSTERS }, () => noise(1));
  const near = (n: number): Float32Array => {
    const centre = centres[n % CLUSTERS] as Float32Array;
    return noise(0.4).map((x, i) => x + (centre[i] as number));
  };

  const started = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const n = next++;
      await vectors.put(`/passage/${n}`, near(n), { metadata: { part: n % 10 } });
      if (n % 1000 === 0) bench.progress(`vectors: ${n} of ${count} are in`);
    }
  };
  await Promise.all(Array.from({ length: 64 }, lane));
  const inserted = (count * 1000) / (performance.now() - started);

  // The index catches up with what was put before the first search is answered.
  const first = performance.now();
  await vectors.search(near(0), { limit: 10 });
  const firstSearch = performance.now() - first;
  bench.progress("vectors: searching");
  let n = 0;
  const alone: { p50: number; p99: number }[] = [];
  for (let round = 0; round < bench.rounds; round++) {
    alone.push(await oneAtATime(bench.slot, () => vectors.search(near(n++), { limit: 10 })));
  }
  const rate = await inFlight(8, bench.slot * 2, () => vectors.search(near(n++), { limit: 10 }));
  const p50 = percentile(
    alone.map((one) => one.p50),
    0.5,
  );
  const p99 = percentile(
    alone.map((one) => one.p99),
    0.5,
  );
  bench.report.table({
    section: "vectors",
    title: `Vectors over NATS: ${count.toLocaleString("en-US")} of ${DIMENSION} components, top 10`,
    columns: ["inserts, 64 in flight", "first search after them", "search p50 / p99", "searches, 8 in flight"],
    rows: [
      [
        perSecond(inserted),
        milliseconds(firstSearch),
        `${milliseconds(p50)} / ${milliseconds(p99)}`,
        perSecond(rate.perSecond),
      ],
    ],
    notes: ["Every insert is a durable commit of its own; the search is exact."],
  });
}

function noise(scale: number): Float32Array {
  return Float32Array.from({ length: DIMENSION }, () => (Math.random() * 2 - 1) * scale);
}
