import type { Bench } from "../bench.ts";
import { figure } from "../figures.ts";
import { Rounds } from "../measure.ts";
import type { Contestant, Optional } from "../peers/contestant.ts";
import { startPeers } from "../peers/peers.ts";
import { BIG_BYTES, VALUE_BYTES } from "../values.ts";
import { vlinderContestants } from "./vlinder-contestants.ts";
import { type Combination, type Name, type Participant, reportWire, type Who } from "./wire-report.ts";

interface Runner extends Participant {
  readonly contestant: Contestant | null;
  /** Whether the run goes on without it. */
  readonly optional: boolean;
  missing: string | null;
}

interface Plan {
  readonly keys: number;
  readonly valueBytes: number;
  readonly rounds: number;
  readonly slot: number;
}

/** Puts and gets against what else there is, over states of three sizes and values of two. */
export async function wireSection(bench: Bench): Promise<void> {
  const { small, middle, large } = bench.sizes;
  const runners = await startRunners(bench, [small, middle, large]);
  const combinations: Combination[] = [];
  // The first is the one that limits are about.
  for (const keys of [middle, small, large]) {
    for (const valueBytes of [VALUE_BYTES, BIG_BYTES]) {
      const main = combinations.length === 0;
      const plan = main
        ? { rounds: bench.scale(7, 3), slot: bench.scale(500, 80) }
        : { rounds: bench.scale(3, 1), slot: bench.scale(250, 50) };
      const rounds = await measure(bench, runners, { keys, valueBytes, ...plan });
      combinations.push({ keys, valueBytes, rounds });
    }
  }
  reportWire(bench, combinations, runners);
}

async function startRunners(bench: Bench, sizes: readonly number[]): Promise<Runner[]> {
  for (const keys of sizes) await bench.states.withKeys(keys);
  bench.progress("wire: starting the peers");
  const peers = await startPeers(bench, sizes);
  const { sdk, plain, echo } = await vlinderContestants(bench, peers.jetstream, sizes);
  const runner = (who: Who, contestant: Contestant): Runner => {
    return { who, name: contestant.name, contestant, optional: false, missing: null };
  };
  const optional = (who: Who, found: Optional, name: string): Runner =>
    "peer" in found
      ? { ...runner(who, found.peer), optional: true }
      : { who, name, contestant: null, optional: true, missing: found.missing };
  // Those that sync are measured first: what the others leave to be written would be in their way.
  return [
    runner("vlinder", sdk),
    runner("plain", plain),
    optional("always", peers.always, "JetStream KV, sync always"),
    optional("redis", peers.redisAlways, "Redis, appendfsync always"),
    optional("agentfs", peers.agentfs, "AgentFS, in process"),
    runner("jetstream", peers.jetstream),
    optional("everysec", peers.everysec, "Redis, appendfsync everysec"),
    runner("echo", echo),
  ];
}

async function measure(bench: Bench, runners: readonly Runner[], plan: Plan): Promise<Rounds<Name>> {
  const { keys, valueBytes } = plan;
  const rounds = new Rounds<Name>();
  // A first round that is not counted: compilers and caches.
  for (let round = 0; round <= plan.rounds; round++) {
    const which = round === 0 ? "warming up" : `round ${round} of ${plan.rounds}`;
    bench.progress(`wire: ${figure(keys)} keys, ${figure(valueBytes)} B: ${which}`);
    const slot = round === 0 ? plan.slot / 2 : plan.slot;
    const into = round === 0 ? new Rounds<Name>() : rounds;
    for (const op of ["put", "get"] as const) {
      for (const runner of runners) {
        if (runner.contestant === null || runner.missing !== null) continue;
        try {
          const { p50, p99, perSecond, count, written } = await runner.contestant.measure({
            op,
            keys,
            valueBytes,
            slot,
          });
          into.add(`${runner.who} ${op} p50`, p50);
          into.add(`${runner.who} ${op} p99`, p99);
          into.add(`${runner.who} ${op} rate`, perSecond);
          into.add(`${runner.who} ${op} count`, count);
          into.add(`${runner.who} ${op} written`, written);
        } catch (error) {
          if (!runner.optional) throw error;
          runner.missing = error instanceof Error ? error.message : String(error);
          bench.progress(`wire: ${runner.name} is left out: ${runner.missing}`);
        }
      }
    }
  }
  return rounds;
}
