import { join } from "node:path";
import type { Bench } from "../bench.ts";
import { Child } from "../child.ts";
import { figure, milliseconds, perSecond } from "../figures.ts";
import type { RatioName } from "../limits.ts";
import { type Latency, oneAtATime, Rounds } from "../measure.ts";
import { Echo } from "../peers/echo.ts";
import { anyKey, keyAt, Values } from "../values.ts";

const KEYS = 1000;
const WRITERS = 32;
const LOADS = ["idle", "sdk", "plain", "batch"] as const;
type Load = (typeof LOADS)[number];
type Who = "same" | "other" | "echo";
type Name = `${Load} ${Who} ${"p50" | "p99"}` | `${Load} writes`;

const SHOWN: Readonly<Record<Load, string>> = {
  idle: "idle daemon",
  sdk: `beside ${WRITERS} writers on one agent-runtime`,
  plain: `beside ${WRITERS} writers, one message each`,
  batch: "beside one writer of 1,000 keys a commit",
};

/** What a reader notices of writers: of its own agent, and of another one. */
export async function readersSection(bench: Bench): Promise<void> {
  const daemon = await bench.daemon();
  const echo = await Echo.apart(join(await bench.folder(), "echo"));
  bench.onEnd(() => echo.stop());
  const agents = { same: "written", other: "read" };
  const values = new Values();
  const reads = new Map<Who, () => Promise<unknown>>();
  for (const [who, agent] of Object.entries(agents) as ["same" | "other", string][]) {
    await daemon.register(agent);
    const { kv } = await daemon.connect(agent);
    await kv.batch(Array.from({ length: KEYS }, (_, n) => ({ op: "put", key: keyAt(n), value: values.next() })));
    reads.set(who, () => kv.get(anyKey(KEYS)));
  }
  reads.set("echo", () => echo.send(new Uint8Array(32), 450));
  const writers = new Map<Load, Child>();
  for (const load of LOADS) {
    if (load === "idle") continue;
    const count = load === "batch" ? 1 : WRITERS;
    const args = [daemon.home, agents.same, load, String(count), String(load === "batch" ? 20_000 : KEYS)];
    const child = await Child.start("wire/writers-process.ts", args);
    bench.onEnd(() => child.stop());
    writers.set(load, child);
  }

  const rounds = new Rounds<Name>();
  for (let round = 0; round <= bench.rounds; round++) {
    bench.progress(round === 0 ? "readers: warming up" : `readers: round ${round} of ${bench.rounds}`);
    for (const load of LOADS) {
      const started = performance.now();
      await writers.get(load)?.ask("start");
      const found: [Who, Latency][] = [];
      for (const [who, read] of reads) found.push([who, await oneAtATime(bench.slot, read)]);
      const writes = Number((await writers.get(load)?.ask("stop")) ?? 0);
      if (round === 0) continue;
      rounds.add(`${load} writes`, (writes * 1000) / (performance.now() - started));
      for (const [who, { p50, p99 }] of found) {
        rounds.add(`${load} ${who} p50`, p50);
        rounds.add(`${load} ${who} p99`, p99);
      }
    }
  }
  for (const child of writers.values()) await child.stop();
  report(bench, rounds);
}

function report(bench: Bench, rounds: Rounds<Name>): void {
  const section = "readers";
  const ratio = (name: RatioName, a: Name, b: Name): void => {
    const of = `${milliseconds(rounds.median(a))} / ${milliseconds(rounds.median(b))}`;
    bench.report.ratio(section, name, rounds.ratio(a, b), of);
  };
  ratio("get-p50-beside-writers", "sdk same p50", "idle same p50");
  ratio("get-p99-beside-writers", "sdk same p99", "idle same p99");
  ratio("other-get/echo", "plain other p50", "plain echo p50");
  ratio("other-get-beside-writers", "sdk other p50", "idle other p50");
  ratio("get-beside-plain-writers", "plain same p50", "idle same p50");
  ratio("echo-beside-writers", "plain echo p50", "idle echo p50");
  const times = (load: Load, who: Who): string =>
    `${milliseconds(rounds.median(`${load} ${who} p50`))} / ${milliseconds(rounds.median(`${load} ${who} p99`))}`;
  bench.report.table({
    section,
    title: "Readers beside writers: one get at a time, p50 / p99",
    columns: ["", "the agent that is written", "another agent", "NATS echo, another server", "meanwhile written"],
    rows: LOADS.map((load) => [
      SHOWN[load],
      times(load, "same"),
      times(load, "other"),
      times(load, "echo"),
      load === "idle"
        ? ""
        : `${perSecond(rounds.median(`${load} writes`))}${load === "batch" ? ` of ${figure(1000)} keys` : ""}`,
    ]),
    notes: [
      "The writers are a process of their own. The echo never touches the daemon: what it loses, the machine's cores owe.",
    ],
  });
}
