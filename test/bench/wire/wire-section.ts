import type { Bench } from "../bench.ts";
import { figure } from "../figures.ts";
import { inFlight, oneAtATime, Rounds } from "../measure.ts";
import type { Contestant, Lane, Optional } from "../peers/contestant.ts";
import { startPeers } from "../peers/peers.ts";
import { anyBigKey, anyKey, BIG_BYTES, VALUE_BYTES, Values } from "../values.ts";
import { vlinderLanes } from "./vlinder-lanes.ts";
import { type Combination, type Name, type Participant, reportWire, type Who } from "./wire-report.ts";

const FLIGHT = 64;

interface Runner extends Participant {
  lane(keys: number, valueBytes: number): Promise<Lane>;
  written(): number;
  /** Why it was left out, once it was. */
  missing: string | null;
}

/** Puts and gets against what else there is, over states of three sizes and values of two. */
export async function wireSection(bench: Bench): Promise<void> {
  const { small, middle, large } = bench.sizes;
  const sizes = [small, middle, large];
  const runners = await startRunners(bench, sizes);
  const combinations: Combination[] = [];
  // The first is the one that limits are about.
  for (const keys of [middle, small, large]) {
    for (const valueBytes of [VALUE_BYTES, BIG_BYTES]) {
      const main = combinations.length === 0;
      const plan = main
        ? { rounds: bench.scale(7, 3), slot: bench.scale(500, 80) }
        : { rounds: bench.scale(3, 1), slot: bench.scale(250, 60) };
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
  const { byKeys, written } = await vlinderLanes(bench, peers.jetstream, sizes);
  const at = (keys: number) => {
    const lanes = byKeys.get(keys);
    if (lanes === undefined) throw new Error(`there is no state of ${keys} keys`);
    return lanes;
  };
  const runner = (who: Who, contestant: Contestant): Runner => {
    const lanes = new Map<number, Promise<Lane>>();
    const lane = (keys: number): Promise<Lane> => {
      const known = lanes.get(keys) ?? contestant.lane(keys);
      lanes.set(keys, known);
      return known;
    };
    return { who, name: contestant.name, lane, written: () => contestant.written(), missing: null };
  };
  const optional = (who: Who, found: Optional, name: string): Runner =>
    "peer" in found
      ? runner(who, found.peer)
      : { who, name, missing: found.missing, written: () => Number.NaN, lane: () => Promise.reject(new Error()) };
  return [
    { who: "vlinder", name: "vlinder, agent-runtime", lane: async (keys) => at(keys).sdk, written, missing: null },
    {
      who: "plain",
      name: "vlinder, plain NATS client, one message each",
      lane: async (keys) => at(keys).plain,
      written,
      missing: null,
    },
    runner("jetstream", peers.jetstream),
    optional("always", peers.always, "JetStream KV, sync always"),
    optional("everysec", peers.everysec, "Redis, appendfsync everysec"),
    optional("redis", peers.redisAlways, "Redis, appendfsync always"),
    optional("agentfs", peers.agentfs, "AgentFS, in process"),
    {
      who: "echo",
      name: "NATS echo of the same sizes",
      lane: async (keys, valueBytes) => at(keys).echo(valueBytes),
      written: () => Number.NaN,
      missing: null,
    },
  ];
}

interface Plan {
  readonly keys: number;
  readonly valueBytes: number;
  readonly rounds: number;
  readonly slot: number;
}

async function measure(bench: Bench, runners: readonly Runner[], plan: Plan): Promise<Rounds<Name>> {
  const { keys, valueBytes } = plan;
  const values = new Values(valueBytes);
  const key = (): string => (valueBytes === VALUE_BYTES ? anyKey(keys) : anyBigKey(keys));
  const rounds = new Rounds<Name>();
  const where = `${figure(keys)} keys, ${valueBytes} B`;
  // A first round that is not counted: compilers and caches.
  for (let round = 0; round <= plan.rounds; round++) {
    bench.progress(`wire: ${where}, ${round === 0 ? "warming up" : `round ${round} of ${plan.rounds}`}`);
    const slot = round === 0 ? plan.slot / 2 : plan.slot;
    const into = round === 0 ? new Rounds<Name>() : rounds;
    for (const op of ["put", "get"] as const) {
      for (const runner of runners) {
        if (runner.missing !== null) continue;
        try {
          const lane = await runner.lane(keys, valueBytes);
          const once = op === "put" ? () => lane.put(key(), values.next()) : () => lane.get(key());
          const { p50, p99 } = await oneAtATime(slot, once);
          const written = runner.written();
          const { count, perSecond } = await inFlight(FLIGHT, slot, once);
          into.add(`${runner.who} ${op} p50`, p50);
          into.add(`${runner.who} ${op} p99`, p99);
          into.add(`${runner.who} ${op} rate`, perSecond);
          if (op === "put") into.add(`${runner.who} put written`, (runner.written() - written) / count);
        } catch (error) {
          if (!runner.who.match(/^(?:always|everysec|redis|agentfs)$/)) throw error;
          runner.missing = error instanceof Error ? error.message : String(error);
          bench.progress(`wire: ${runner.name} is left out: ${runner.missing}`);
        }
      }
    }
  }
  return rounds;
}
