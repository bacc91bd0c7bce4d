import { type Hash, VlinderError } from "@vlinder/protocol";
import type { StateEngine } from "../state/engine.ts";
import type { Instead } from "../state/turns/turn-ground.ts";
import type { TurnItem } from "../state/turns/turn-index.ts";
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

/** @throws not_found, conflict (it is open), unavailable (its beginning or end is not here), erased */
export async function replayedTurn(engine: StateEngine, turn: string): Promise<ReplayedTurn> {
  await engine.turns.restored();
  const item = await engine.turns.index.turn(turn);
  if (item === null) {
    throw new VlinderError("not_found", `there is no turn "${turn}"`, {
      details: { turn },
      remedy: "`vlinder log` and `vlinder session get` show the turns",
    });
  }
  if (engine.turns.find(turn) !== null) {
    throw new VlinderError("conflict", `the turn "${turn}" has not ended`, {
      details: { turn },
      remedy: "wait for its end, or end it: turn.fail",
    });
  }
  if (item.ended === null || item.invoked === null) throw notHere(turn, item.invoked === null ? "beginning" : "end");
  const { parents, event } = await engine.commit(item.invoked);
  const { retries, provider, model } = event.info ?? {};
  const input = turnValue(event, "input");
  return {
    item,
    ended: item.ended,
    base: parents[0] as Hash,
    input: input === null ? undefined : await engine.requiredValue(input.hash, input.size),
    retries: typeof retries === "string" ? retries : undefined,
    instead: {
      ...(typeof provider === "string" ? { provider } : {}),
      ...(typeof model === "string" ? { model } : {}),
    },
    made: await callsOf(engine, item.ended),
  };
}

/** An answer that was recorded. @throws erased */
export async function answerOf(engine: StateEngine, { response: { hash, size } }: OldCall): Promise<Buffer> {
  return size === 0 ? Buffer.alloc(0) : Buffer.from(await engine.requiredValue(hash, size));
}

/** Before anything is begun. @throws erased, with the call */
export async function requireAnswers(engine: StateEngine, turn: string, calls: readonly OldCall[]): Promise<void> {
  for (const { commit, response } of calls) {
    if (response.size === 0) continue;
    try {
      await engine.range(response.hash, response.size, 0, 1);
    } catch (error) {
      if (!(error instanceof VlinderError) || error.code !== "erased") throw error;
      throw new VlinderError("erased", `an answer that the turn "${turn}" got was erased`, {
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
