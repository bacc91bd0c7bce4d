import { type AgentName, MAIN, type AgentRequest, VlinderError } from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import { callInfo, callValues, type NotRecorded, notRecorded, type RecordCall } from "../providers/recorded-call.ts";
import type { Instead } from "../state/turns/turn-ground.ts";
import type { RecordedCalls } from "../turns/recorded-calls.ts";
import { agentOf } from "./agent-access.ts";

/** What a call belongs to: where it is recorded, and how long it may go on. */
export interface CallScope {
  readonly record: RecordCall;
  /** Aborted when a call of it must end, like the turn that it belongs to; null: nothing ends it. */
  readonly signal: AbortSignal | null;
  /** Another provider or model than agent.toml says. */
  readonly instead: Instead;
  /** Calls that are answered from the record of an earlier turn; null: the provider is asked. */
  readonly recorded: Recorded | null;
}

/** The record that a replay is answered from. */
export interface Recorded {
  readonly calls: RecordedCalls;
  /** Keeps a call that is not in it. */
  readonly diverged: (call: NotRecorded) => Promise<void>;
}

type Named = Pick<AgentRequest<"service.infer">, "turn" | "branch" | "session">;

/**
 * The scope that a request names. The one place that knows of turns: a call of a turn belongs on its chain.
 * @throws not_found, sealed, before anything is sent
 */
export function scopeOf(core: Core, agent: AgentName, { turn, branch = MAIN, session }: Named): CallScope {
  const { engine } = agentOf(core, agent);
  if (turn !== undefined) {
    const open = engine.turns.required(turn);
    const calls = core.replays.of(turn);
    return {
      record: async (call) => ({
        state: await engine.turns.record(open, { kind: "call", info: callInfo(call), values: callValues(call) }),
      }),
      signal: open.signal,
      instead: open.instead,
      recorded: calls && {
        calls,
        diverged: async (call) => void (await open.record({ kind: "call", ...notRecorded(call) })),
      },
    };
  }
  if (engine.branch(branch).sealed) {
    throw new VlinderError("sealed", `the branch "${branch}" is sealed`, {
      details: { branch },
      remedy: `fork it to go on from there: vlinder fork ${agent} --from ${branch} --name NAME`,
    });
  }
  const told = { branch, ...(session === undefined ? {} : { session }) };
  return {
    record: (call) => engine.record({ kind: "call", info: callInfo(call), values: callValues(call), ...told }),
    signal: null,
    instead: {},
    recorded: null,
  };
}
