import { createHash } from "node:crypto";
import type { AgentName } from "@vlinder/protocol";
import type { Bench } from "../bench.ts";
import { Rounds } from "../measure.ts";
import { aim, figure, megabytes, perSecond } from "../report.ts";
import { anyKey, keyAt, Values } from "../values.ts";

const LARGE_BYTES = 480 * 1024;
type Name = "verify" | "sha256" | "commits" | "puts";

/** Verifying: large values against plain SHA-256, small commits against the rate at which they were put. */
export async function verifySection(bench: Bench): Promise<void> {
  const daemon = await bench.daemon();
  await daemon.register("large");
  await daemon.register("small");
  const large = await daemon.connect("large");
  const small = await daemon.connect("small");
  const rounds = new Rounds<Name>();

  bench.progress("verify: writing large values");
  const values = Array.from({ length: bench.scale(128, 16) }, () => new Values(LARGE_BYTES).next());
  for (const [n, value] of values.entries()) await large.kv.put(keyAt(n), value);
  const bytes = values.length * LARGE_BYTES;

  bench.progress("verify: writing small values");
  const commits = bench.scale(20_000, 1_500);
  const some = new Values();
  const started = performance.now();
  await Promise.all(Array.from({ length: commits }, () => small.kv.put(anyKey(5_000), some.next())));
  const putRate = (commits * 1000) / (performance.now() - started);

  for (let round = 0; round < Math.min(3, bench.rounds); round++) {
    bench.progress(`verify: round ${round + 1}`);
    const whole = await large.client.request("large" as AgentName, "timeline.verify", {}, { timeout: 120_000 });
    rounds.add("verify", whole.bytes / whole.seconds);
    const hashing = performance.now();
    for (const value of values) createHash("sha256").update(value).digest();
    rounds.add("sha256", (bytes * 1000) / (performance.now() - hashing));
    const chain = await small.client.request("small" as AgentName, "timeline.verify", {}, { timeout: 120_000 });
    rounds.add("commits", chain.counts.commits / chain.seconds);
    rounds.add("puts", putRate);
    if (!whole.ok || !chain.ok) throw new Error("verify found damage in what the bench wrote");
  }
  const section = "verify";
  bench.report.ratio({
    section,
    what: "verify of values of 480 KiB to plain SHA-256 of the same bytes",
    value: rounds.ratio("verify", "sha256"),
    of: `${megabytes(rounds.median("verify"))}/s / ${megabytes(rounds.median("sha256"))}/s`,
    limit: aim("at least", 0.5),
  });
  bench.report.ratio({
    section,
    what: "commits verified to commits put, per second",
    value: rounds.ratio("commits", "puts"),
    of: `${perSecond(rounds.median("commits"))} / ${perSecond(putRate)}`,
    limit: aim("at least", 1),
  });
  bench.report.table({
    section,
    title: "Verify",
    columns: ["large values", "small commits"],
    rows: [
      [
        `${megabytes(rounds.median("verify"))}/s over ${megabytes(bytes)}`,
        `${perSecond(rounds.median("commits"))} over ${figure(commits)} commits of 256 B`,
      ],
    ],
  });
}
