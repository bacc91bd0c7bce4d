import {
  type AgentName,
  type AgentRequest,
  type BranchName,
  type Hash,
  type ReplayCost,
  type ReplayReply,
  type TurnValue,
  VlinderError,
} from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import type { TurnItem } from "../state/turns/turn-index.ts";
import { callsOf, type OldCall, RecordedCalls } from "./recorded-calls.ts";
import type { OnProgress, Runs } from "./runs.ts";
import { turnValue } from "./turn-item.ts";

/** Bytes of one output in a reply. */
const SHOWN_OUTPUT = 128 * 1024;

interface Old {
  readonly item: TurnItem;
  readonly base: Hash;
  readonly input: Uint8Array | undefined;
  readonly ended: Hash;
}

/** The same turn again, on a fork, from the state that it began from. */
export class Replays {
  readonly #runs: Runs;
  readonly #recorded = new Map<string, RecordedCalls>();

  constructor(runs: Runs) {
    this.#runs = runs;
  }

  /** The calls that a turn's are answered from; null: it is no replay, or one that asks anew. */
  of(turn: string): RecordedCalls | null {
    return this.#recorded.get(turn) ?? null;
  }

  /** @throws not_found, conflict while it is open, and what a run throws */
  async replay(
    agent: AgentName,
    engine: StateEngine,
    request: AgentRequest<"turn.replay">,
    progress: OnProgress,
  ): Promise<ReplayReply> {
    const { turn: of, recorded = false, provider, model, limit, id } = request;
    const { item, base, input, ended } = await oldTurn(engine, of);
    const calls = await callsOf(engine, ended);
    const branch = freeName(engine, request.branch ?? (`replay/${of}` as BranchName));
    await engine.fork(branch, base);
    const answers = recorded ? new RecordedCalls(calls) : null;
    const begin = {
      branch,
      session: item.session,
      retries: of,
      replays: of,
      instead: { ...(provider === undefined ? {} : { provider }), ...(model === undefined ? {} : { model }) },
      ...(input === undefined ? {} : { input }),
      ...(limit === undefined ? {} : { limit: limit * 1000 }),
    };
    let turn = "";
    try {
      const ran = await this.#runs.run(agent, engine, { begin, id }, progress, (begun) => {
        turn = begun;
        if (answers !== null) this.#recorded.set(begun, answers);
      });
      const [was, is] = [await snapshotOf(engine, ended), await snapshotOf(engine, ran.commit)];
      const again = await engine.turns.index.turn(ran.turn);
      return {
        turn: ran.turn,
        of,
        branch,
        kind: ran.kind,
        reason: ran.reason,
        base,
        original: {
          kind: item.kind,
          state: was.state,
          snapshot: was.snapshot,
          output: await outputOf(engine, ended),
          cost: costOf(calls, item),
        },
        replay: {
          kind: ran.kind,
          state: is.state,
          snapshot: is.snapshot,
          output: await outputOf(engine, ran.commit),
          cost: costOf(await callsOf(engine, ran.commit), again),
        },
        same: {
          snapshot: was.snapshot === is.snapshot,
          output:
            turnValue((await engine.commit(ended)).event, "output")?.hash ===
            turnValue((await engine.commit(ran.commit)).event, "output")?.hash,
        },
        diverged: answers?.diverged ?? [],
        unused: answers?.unused.length ?? 0,
      };
    } finally {
      this.#recorded.delete(turn);
    }
  }
}

async function oldTurn(engine: StateEngine, turn: string): Promise<Old> {
  const item = await engine.turns.index.turn(turn);
  if (item === null) {
    throw new VlinderError("not_found", `there is no turn "${turn}"`, {
      details: { turn },
      remedy: "`vlinder log` and `vlinder session get` show the turns",
    });
  }
  if (item.ended === null) {
    throw new VlinderError("conflict", `the turn "${turn}" has not ended`, {
      details: { turn },
      remedy: "wait for its end",
    });
  }
  if (item.invoked === null) {
    throw new VlinderError("unavailable", `the beginning of the turn "${turn}" is not here`, {
      details: { turn },
      retryable: false,
      remedy: "`vlinder sync pull` brings it, when the bucket has it",
    });
  }
  const { parents, event } = await engine.commit(item.invoked);
  const input = turnValue(event, "input");
  return {
    item,
    base: parents[0] as Hash,
    ended: item.ended,
    input: input === null ? undefined : await engine.requiredValue(input.hash, input.size),
  };
}

function freeName(engine: StateEngine, wanted: BranchName): BranchName {
  const taken = new Set(engine.liveBranches().map(({ name }) => name));
  let name: string = wanted;
  for (let n = 2; taken.has(name); n++) name = `${wanted}-${n}`;
  return name as BranchName;
}

/** The state that a turn ended with: of its last commit, which changes nothing. */
async function snapshotOf(engine: StateEngine, last: Hash): Promise<{ state: Hash; snapshot: Hash }> {
  const { parents, snapshot } = await engine.commit(last);
  return { state: parents[0] as Hash, snapshot };
}

async function outputOf(engine: StateEngine, last: Hash): Promise<TurnValue | null> {
  const ref = turnValue((await engine.commit(last)).event, "output");
  if (ref === null) return null;
  const value = ref.size > SHOWN_OUTPUT ? null : await engine.requiredValue(ref.hash, ref.size).catch(() => null);
  return { ...ref, value };
}

function costOf(calls: readonly OldCall[], item: TurnItem | null): ReplayCost {
  const sum = (of: (call: OldCall) => number): number => calls.reduce((total, call) => total + of(call), 0);
  return {
    calls: calls.length,
    input: sum(({ tokens }) => tokens?.input ?? 0),
    output: sum(({ tokens }) => tokens?.output ?? 0),
    models: [...new Set(calls.flatMap(({ provider, model }) => (model === null ? [] : [`${provider}/${model}`])))],
    callMilliseconds: sum(({ milliseconds }) => milliseconds),
    milliseconds: item === null ? 0 : Date.parse(item.time) - Date.parse(item.began),
  };
}
