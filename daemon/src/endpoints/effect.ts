import {
  type EffectEndReply,
  type EffectForm,
  type EffectItem,
  LIMITS,
  type EffectResolveReply,
  VlinderError,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { KnownEffect, Word } from "../state/turns/effects.ts";
import { agentOf } from "./agent-access.ts";
import { withOwed } from "./owed.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<AgentHandlers, Extract<keyof AgentHandlers, `effect.${string}`>>;

/** Bytes of one item beside its texts, in the longer encoding. */
const ITEM = 700;
/** Characters of an error in a list; its commit has all of it. */
const SHORT = 200;

interface WithResult {
  readonly result?: Uint8Array | undefined;
  readonly form?: EffectForm | undefined;
}

function resultOf({ result, form = "json" }: WithResult): Pick<Word, "result"> {
  return result === undefined ? {} : { result: { bytes: result, form } };
}

function effectItem({ effect, key, status, turns, last, said }: KnownEffect): EffectItem {
  return {
    effect,
    key,
    status,
    turn: last.turn,
    attempts: turns.length,
    began: last.time,
    time: said?.time ?? last.time,
    commit: said?.commit ?? last.begun,
    by: said?.by ?? null,
    result: said?.result ?? null,
    lost: said?.lost?.slice(0, SHORT) ?? null,
    error: said?.error?.slice(0, SHORT) ?? null,
  };
}

/** As many as fit in one reply; JSON writes a control character as six. */
function fitting(items: readonly EffectItem[]): EffectItem[] {
  let room = LIMITS.replyBytes - 1024;
  const fit = items.findIndex(({ key, lost, error }) => {
    room -= ITEM + 6 * (Buffer.byteLength(key) + Buffer.byteLength(lost ?? "") + Buffer.byteLength(error ?? ""));
    return room < 0;
  });
  return fit < 0 ? [...items] : items.slice(0, fit);
}

/** `vlinder.v1.<agent>.effect.*` */
export function effectHandlers(core: Core): Handlers {
  return {
    "effect.begin": ({ agent, request: { turn, key, id } }) =>
      agentOf(core, agent).engine.turns.effects.begin(turn, key, id),
    "effect.end": async ({ agent, request }): Promise<EffectEndReply> => {
      const { begun, lost, error } = request;
      const status = error === undefined ? "done" : "failed";
      const word: Word = {
        status,
        ...resultOf(request),
        ...(lost === undefined ? {} : { lost }),
        ...(error === undefined ? {} : { error }),
      };
      return { status, ...(await agentOf(core, agent).engine.turns.effects.end(begun, word)) };
    },
    "effect.list": async ({ agent, request: { turn, key, status, after, limit = LIMITS.defaultPage } }) => {
      const all = await agentOf(core, agent).engine.turns.effects.list();
      // Looked for before the others are left out: its status may have changed since the page before.
      const start = after === undefined ? 0 : all.findIndex(({ effect }) => effect === after) + 1;
      if (after !== undefined && start === 0) throw noSuchEffect(after);
      const asked = all
        .slice(start)
        .filter(
          (one) =>
            (turn === undefined || one.turns.includes(turn)) &&
            (key === undefined || one.key === key) &&
            (status === undefined || one.status === status),
        );
      const items = fitting(asked.slice(0, limit).map(effectItem));
      return { items, next: asked.length > items.length ? (items.at(-1)?.effect ?? null) : null };
    },
    "effect.resolve": async ({ agent, request }): Promise<EffectResolveReply> => {
      const { effect, status } = request;
      const word = { status, ...resultOf(request) };
      const resolved = await agentOf(core, agent).engine.turns.effects.resolve(effect, word);
      return withOwed(core, agent, { ...resolved, status });
    },
  };
}

function noSuchEffect(after: string): VlinderError {
  return new VlinderError("not_found", `there is no effect "${after}"`, {
    details: { effect: after },
    remedy: "begin at the first page: leave `after` out",
  });
}
