import {
  type AgentName,
  type AgentRequest,
  type CompleteReply,
  type Encoding,
  type FailReply,
  type Hash,
  LIMITS,
  type RunReply,
  type SessionItem,
  VlinderError,
} from "@vlinder/protocol";
import type { Core, OpenedAgent } from "../daemon-core.ts";
import { requireDeclared } from "../providers/declared-model.ts";
import { requireExchangeable } from "../providers/exchangeable.ts";
import type { Ended, Kept } from "../state/turns/ended.ts";
import type { TurnItem } from "../state/turns/turn-index.ts";
import { beginRequest } from "../turns/begin-request.ts";
import { sessionTurns, turnsBefore } from "../turns/turn-item.ts";
import { agentOf } from "./agent-access.ts";
import { withOwed } from "./owed.ts";
import type { AgentCall, AgentHandlers } from "./service.ts";

type Handlers = Pick<
  AgentHandlers,
  Extract<keyof AgentHandlers, `turn.${string}` | `session.${string}` | `run.${string}`> | "run"
>;

function completeReply(turn: string, ended: Ended): CompleteReply {
  if (ended.kind === "completed") {
    const { state, commit, head, merged, conflicts } = ended;
    return { turn, state, commit, head, merged, conflicts };
  }
  throw notCompleted(turn, ended);
}

function notCompleted(turn: string, { branch, reason, commit, expected }: Kept): VlinderError {
  return new VlinderError("conflict", `the turn "${turn}" was not completed: ${reason}`, {
    details: { turn, branch, commit, ...expected },
    remedy: `nothing was moved; what it did is on the branch "${branch}": run the turn again on what is there now`,
  });
}

function failReply(turn: string, ended: Ended): FailReply {
  if (ended.kind === "completed") {
    // As it turns out: when it was, that could not be said.
    throw new VlinderError("conflict", `the turn "${turn}" has been completed`, {
      details: { turn, commit: ended.commit, head: ended.head },
      remedy: "what it wrote is on its branch; `vlinder rewind` takes it back",
    });
  }
  const { state, commit, branch, reason } = ended;
  return { turn, state, commit, branch, reason };
}

function sessionItem(session: string, turns: readonly TurnItem[]): SessionItem {
  const last = turns.reduce((a, b) => (b.time >= a.time ? b : a));
  return {
    session,
    turns: turns.length,
    began: (turns[0] as TurnItem).began,
    time: last.time,
    last: { turn: last.turn, kind: last.kind, commit: (last.ended ?? last.invoked) as Hash },
  };
}

/** `vlinder.v1.<agent>.turn.*`, `session.*` and `run`. */
export function turnHandlers(core: Core): Handlers {
  return {
    "turn.begin": ({ agent, request }) => {
      requireDeclaredModel(agentOf(core, agent), request);
      return pulled(core, agent, () => {
        const { engine, manifest } = agentOf(core, agent);
        return engine.turns.begin(beginRequest(manifest, request), request.id);
      });
    },
    "turn.accept": ({ agent, request }) => core.runs.accept(agent, agentOf(core, agent).engine, request),
    "turn.emit": ({ agent, request }) => {
      core.runs.emit(agentOf(core, agent).engine, request.turn, request.text);
      return {};
    },
    "turn.complete": async ({ agent, request: { turn, output = null, id } }) => {
      const ended = await agentOf(core, agent).engine.turns.complete(turn, output, id);
      return withOwed(core, agent, completeReply(turn, ended));
    },
    "turn.fail": async ({ agent, request: { turn, reason, id } }) =>
      failReply(turn, await agentOf(core, agent).engine.turns.fail(turn, reason, id)),
    "session.list": async ({ agent, request: { after, limit = LIMITS.defaultPage } }) => {
      const { turns } = agentOf(core, agent).engine;
      await turns.storeForIndex();
      const all = await turns.index.sessions();
      const start = after === undefined ? 0 : all.findIndex(({ session }) => session === after) + 1;
      if (after !== undefined && start === 0) throw noSession(after);
      const items = all.slice(start, start + limit).map(({ session, turns }) => sessionItem(session, turns));
      return { items, next: all.length > start + limit ? (items.at(-1)?.session ?? null) : null };
    },
    "session.get": async ({ agent, request, encoding }) => {
      const { session, before, limit = LIMITS.defaultPage } = request;
      const { engine } = agentOf(core, agent);
      await engine.turns.storeForIndex();
      const all = await engine.turns.index.session(session);
      let items = all;
      if (before !== undefined) {
        const from = engine.turns.find(before)?.base ?? (await engine.turns.index.turn(before))?.invoked;
        if (from == null)
          throw new VlinderError("not_found", `there is no turn "${before}"`, {
            details: { turn: before },
            remedy: "`vlinder log` and `vlinder session get` show the turns",
          });
        items = await turnsBefore(engine, await engine.turns.index.withReplays(session), from, limit);
      } else if (items.length === 0) {
        throw noSession(session);
      }
      const shown = await sessionTurns(engine, items.slice(-limit), growthOf(encoding));
      return { session, turns: all.length, items: shown };
    },
    run: (call) => {
      requireDeclaredModel(agentOf(core, call.agent), call.request);
      return run(core, call);
    },
    "run.override": (call) => {
      requireExchangeable(agentOf(core, call.agent), call.request, core.providers);
      return run(core, call);
    },
    "turn.replay": async ({ agent: name, request, progress, encoding }) => {
      const agent = agentOf(core, name);
      const requireProvider = (provider: string) => requireExchangeable(agent, { provider }, core.providers);
      if (request.provider !== undefined) requireProvider(request.provider);
      const limit = request.limit ?? agent.manifest?.limits.turn ?? undefined;
      const asked = limit === undefined ? request : { ...request, limit };
      const ground = { agent: name, engine: agent.engine, requireProvider, progress, growth: growthOf(encoding) };
      return withOwed(core, name, await core.replays.replay(ground, asked));
    },
  };
}

/** JSON writes a control character as six. */
function growthOf(encoding: Encoding): number {
  return encoding === "json" ? 6 : 1;
}

/** A turn begins on what other machines wrote, as far as that is here in time. */
function pulled<Result>(core: Core, agent: AgentName, begin: () => Promise<Result>): Promise<Result> {
  const pull = core.schedule.beforeTurn(agent);
  return pull === null ? begin() : pull.then(begin);
}

async function run(core: Core, { agent, request, progress }: AgentCall<AgentRequest<"run">>): Promise<RunReply> {
  await core.schedule.beforeTurn(agent);
  const { engine, manifest } = agentOf(core, agent);
  const asked = { begin: beginRequest(manifest, request), id: request.id };
  return withOwed(core, agent, await core.runs.run(agent, engine, asked, progress));
}

/** An agent may choose among what is declared; a person, through subjects of their own, among all that is configured. */
function requireDeclaredModel(
  { name, manifest }: OpenedAgent,
  { provider, model }: Pick<AgentRequest<"run">, "provider" | "model">,
): void {
  const infer = manifest?.services.infer ?? null;
  if (model !== undefined) requireDeclared(model, infer?.models ?? []);
  if (provider === undefined || provider === infer?.provider) return;
  throw new VlinderError("not_declared", `the agent "${name}" does not declare the provider "${provider}"`, {
    details: { agent: name, provider },
    remedy: "declare it in agent.toml, or ask as an administrator: `vlinder run` and `vlinder replay` do",
  });
}

function noSession(session: string): VlinderError {
  return new VlinderError("not_found", `there is no session "${session}"`, {
    details: { session },
    remedy: "`vlinder session list` shows those that there are; a turn without one begins one",
  });
}
