import { type Hash, VlinderError } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import type { Instead } from "../state/turns/turn-ground.ts";
import type { TurnItem } from "../state/turns/turn-index.ts";
import { eventValue, requireEventValue } from "./event-value.ts";
import { type CallsMade, callsOf, type OldCall } from "./old-call.ts";
import { turnValue } from "./turn-item.ts";

/** A turn that has ended, with all that it takes to run it again. */
export interface ReplayedTurn {
  readonly item: TurnItem;
  /** Its last commit. */
  readonly ended: Hash;
  /** What it began from. */
  readonly base: Hash;
  readonly input: Uint8Array | undefined;
  /** The turn that it did again itself. */
  readonly retries: string | undefined;
  /** Whom it asked in place of what agent.toml says. */
  readonly instead: Instead;
  readonly made: CallsMade;
}

/** @throws not_found, conflict (it is open), unavailable (its beginning or end is not here), pruned, erased */
export async function replayedTurn(engine: StateEngine, turn: string): Promise<ReplayedTurn> {
  await engine.turns.restored();
  if (engine.turns.find(turn) !== null) {
    throw new VlinderError("conflict", `the turn "${turn}" has not ended`, {
      details: { turn },
      remedy: "wait for its end, or end it: turn.fail",
    });
  }
  const item = await engine.turns.index.turn(turn);
  if (item === null) {
    throw new VlinderError("not_found", `there is no turn "${turn}"`, {
      details: { turn },
      remedy: "`vlinder log` and `vlinder session get` show the turns",
    });
  }
  if (item.ended === null || item.invoked === null) throw notHere(turn, item.invoked === null ? "beginning" : "end");
  const { parents, event } = await engine.commit(item.invoked);
  const base = parents[0] as Hash;
  // What it began from must be there; a replay may be of any age.
  await engine.view(base);
  const { retries, provider, model } = event.info ?? {};
  const input = turnValue(event, "input");
  return {
    item,
    ended: item.ended,
    base,
    input: input === null ? undefined : await eventValue(engine, item.invoked, input),
    retries: typeof retries === "string" ? retries : undefined,
    instead: {
      ...(typeof provider === "string" ? { provider } : {}),
      ...(typeof model === "string" ? { model } : {}),
    },
    made: await callsOf(engine, item.ended),
  };
}

/** An answer that was recorded. @throws erased, pruned */
export async function answerOf(engine: StateEngine, { commit, response }: OldCall): Promise<Buffer> {
  return Buffer.from(await eventValue(engine, commit, response));
}

/** Before anything is begun. @throws erased or pruned, with the call */
export async function requireAnswers(engine: StateEngine, turn: string, calls: readonly OldCall[]): Promise<void> {
  for (const { commit, response } of calls) {
    try {
      await requireEventValue(engine, commit, response);
    } catch (error) {
      if (!(error instanceof VlinderError) || (error.code !== "erased" && error.code !== "pruned")) throw error;
      const how = error.code === "erased" ? "was erased" : "was dropped by retention";
      throw new VlinderError(error.code, `an answer that the turn "${turn}" got ${how}`, {
        cause: error,
        details: { turn, commit, hash: response.hash },
        remedy: "replay it without --recorded: the model is asked again",
      });
    }
  }
}

function notHere(turn: string, what: string): VlinderError {
  return new VlinderError("unavailable", `the ${what} of the turn "${turn}" is not here`, {
    details: { turn },
    retryable: false,
    remedy: "`vlinder sync pull` brings it, when the bucket has it",
  });
}
