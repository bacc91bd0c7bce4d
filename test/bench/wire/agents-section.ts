import type { Vlinder } from "@vlinder/agent-runtime";
import type { Bench } from "../bench.ts";
import { perSecond } from "../figures.ts";
import type { RatioName } from "../limits.ts";
import { inFlight, Rounds } from "../measure.ts";
import { anyKey, keyAt, Values } from "../values.ts";

const AGENTS = 64;
const FLIGHT = 64;
const KEYS = 1000;
const LOADS = ["agent", "agents", "singly", "clients"] as const;
type Load = (typeof LOADS)[number];

const NAMES: Readonly<Record<Load, string>> = {
  agent: "one agent, one client, 64 in flight",
  agents: "64 agents, a client each, 64 in flight each",
  singly: "64 agents, a client each, one in flight each",
  clients: "one agent, 64 clients, one in flight each",
};

/** Whether many agents together get what one gets: each has a database, and so an fsync, of its own. */
export async function agentsSection(bench: Bench): Promise<void> {
  bench.progress(`agents: registering ${AGENTS}`);
  const daemon = await bench.daemon();
  const values = new Values();
  const many: Vlinder[] = [];
  for (let n = 0; n <= AGENTS; n++) {
    const agent = `agent-${n}`;
    await daemon.register(agent);
    const vlinder = await daemon.connect(agent);
    await vlinder.kv.batch(
      Array.from({ length: KEYS }, (_, key) => ({ op: "put", key: keyAt(key), value: values.next() })),
    );
    many.push(vlinder);
  }
  const [one, ...others] = many as [Vlinder, ...Vlinder[]];
  const clients = await daemon.connectMany(one.agent, AGENTS);
  /** Each of them so often at once. */
  const spread = (on: readonly Vlinder[], each: number) => async (): Promise<number> => {
    const started = performance.now();
    const done = await Promise.all(
      on.map(({ kv }) => inFlight(each, bench.slot * 2, () => kv.put(anyKey(KEYS), values.next()))),
    );
    return (done.reduce((sum, { count }) => sum + count, 0) * 1000) / (performance.now() - started);
  };
  const loads: Readonly<Record<Load, () => Promise<number>>> = {
    agent: spread([one], FLIGHT),
    agents: spread(others, FLIGHT),
    singly: spread(others, 1),
    clients: spread(clients, 1),
  };
  const rounds = new Rounds<Load>();
  for (let round = 0; round <= bench.rounds; round++) {
    bench.progress(round === 0 ? "agents: warming up" : `agents: round ${round} of ${bench.rounds}`);
    for (const load of LOADS) {
      const rate = await loads[load]();
      if (round > 0) rounds.add(load, rate);
    }
  }
  const ratio = (name: RatioName, a: Load, b: Load): void => {
    const of = `${perSecond(rounds.median(a))} / ${perSecond(rounds.median(b))}`;
    bench.report.ratio("agents", name, rounds.ratio(a, b), of);
  };
  ratio("agents/agent", "agents", "agent");
  ratio("agents-singly/agent", "singly", "agent");
  ratio("agents-singly/clients", "singly", "clients");
  bench.report.table({
    section: "agents",
    title: "Many agents at once, puts of 256 B through agent-runtime",
    columns: ["", "puts in sum"],
    rows: LOADS.map((load) => [NAMES[load], perSecond(rounds.median(load))]),
  });
}
