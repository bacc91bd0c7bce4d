import type { AgentName, AgentRequest, BranchName, ReplayReply, RunReply } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import type { BeginRequest } from "../state/turns/turns.ts";
import type { Instead } from "../state/turns/turn-ground.ts";
import { RecordedCalls } from "./recorded-calls.ts";
import { compared } from "./replay-comparison.ts";
import { replayedTurn, type ReplayedTurn, requireAnswers } from "./replayed-turn.ts";
import type { OnProgress, Runs } from "./runs.ts";

type Asked = AgentRequest<"turn.replay">;

export interface ReplayGround {
  readonly agent: AgentName;
  readonly engine: StateEngine;
  /** @throws invalid: there is no such provider */
  readonly requireProvider: (name: string) => unknown;
  readonly progress: OnProgress;
  /** How many times its size a byte of a value takes in the reply. */
  readonly growth: number;
}

/**
 * The same turn again, from the state that it began from, on a fork that comes to be with its end. The same request again, by
 * its id, joins the first or gets what it got: what is told of a replay is all in its commits.
 */
export class Replays {
  readonly #runs: Runs;
  /** By turn, as long as it is open. */
  readonly #recorded = new Map<string, RecordedCalls>();

  constructor(runs: Runs) {
    this.#runs = runs;
  }

  /** The calls that a turn's are answered from; null: it is no replay, or one that asks anew. */
  of(turn: string): RecordedCalls | null {
    return this.#recorded.get(turn) ?? null;
  }

  /** @throws not_found, conflict (it is open, the branch is there), pruned, erased, invalid (the provider), and what a run throws */
  async replay(ground: ReplayGround, request: Asked): Promise<Omit<ReplayReply, "sync">> {
    const { engine, agent, progress, growth } = ground;
    const { turn: of, recorded = false, id } = request;
    const old = await replayedTurn(engine, of);
    const instead = insteadOf(request, old);
    if (recorded) await requireAnswers(engine, of, old.made.calls);
    else if (instead.provider !== undefined) ground.requireProvider(instead.provider);
    let turn = "";
    try {
      const begin = beginning(request, old, instead);
      const ran = await this.#runs.run(agent, engine, { begin, id }, progress, (begun) => {
        turn = begun;
        if (recorded && !this.#recorded.has(begun)) {
          this.#recorded.set(begun, new RecordedCalls(old.made.calls, old.instead.model ?? null));
        }
      });
      return {
        turn: ran.turn,
        of,
        session: ran.session,
        branch: await branchOf(engine, ran),
        base: old.base,
        recorded,
        ...(await compared(engine, old, ran.turn, { recorded, growth })),
      };
    } catch (error) {
      if (turn !== "") await dropUnbegun(engine, turn);
      throw error;
    } finally {
      // While it is open it must not come to ask a provider.
      if (engine.turns.find(turn) === null) this.#recorded.delete(turn);
    }
  }
}

function beginning({ branch, limit, recorded = false }: Asked, old: ReplayedTurn, instead: Instead): BeginRequest {
  const { item, base, input, retries } = old;
  return {
    branch: branch ?? (`replay/${item.turn}` as BranchName),
    from: base,
    exact: branch !== undefined,
    session: item.session,
    replays: item.turn,
    recorded,
    instead,
    ...(retries === undefined ? {} : { retries }),
    ...(input === undefined ? {} : { input }),
    ...(limit === undefined ? {} : { limit: limit * 1000 }),
  };
}

/** Whom it asks: as the turn did, where nothing else is said. A model is one of a provider. */
function insteadOf({ provider, model }: Asked, { instead }: ReplayedTurn): Instead {
  if (provider !== undefined) return { provider, ...(model === undefined ? {} : { model }) };
  return { ...instead, ...(model === undefined ? {} : { model }) };
}

/** Where what it did is now; null: the branch was deleted meanwhile. */
async function branchOf(engine: StateEngine, { commit, kept }: Pick<RunReply, "commit" | "kept">) {
  if (kept !== null) return kept;
  const { branch } = await engine.commit(commit);
  return engine.liveBranches().find(({ id }) => id === branch)?.name ?? null;
}

/** A turn that nobody took up has done nothing that is worth a branch. */
async function dropUnbegun(engine: StateEngine, turn: string): Promise<void> {
  const item = await engine.turns.index.turn(turn);
  if (item === null || item.ended === null || item.kind !== "failed") return;
  if ((await engine.commit(item.ended)).parents[0] !== item.invoked) return;
  const kept = engine.liveBranches().find(({ head }) => head === item.ended);
  // It is of no use, and does no harm.
  if (kept !== undefined) await engine.deleteBranch(kept.name as BranchName).catch(() => undefined);
}
