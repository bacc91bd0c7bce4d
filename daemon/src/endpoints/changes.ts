import {
  type AgentRequest,
  type BlameItem,
  type BlameReply,
  type ChangesItem,
  type ChangesReply,
  type Commit,
  type Hash,
  invalid,
  isHash,
  type Key,
  type KeyChange,
  keyText,
  LIMITS,
  MAIN,
  type Origin,
  parseKey,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { Entry } from "../state/api.ts";
import { Breather } from "../state/breather.ts";
import type { StateEngine } from "../state/engine.ts";
import type { Step } from "../state/history/way.ts";
import { agentOf } from "./agent-access.ts";
import { missing } from "./kv.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<AgentHandlers, "kv.blame" | "kv.changes">;

/** Bytes of a key's change, its key apart, and of an origin, its turn and session apart, in the longer encoding. */
const CHANGE = 160;
const ORIGIN = 400;
/** JSON writes a control character as six. */
const JSON_GROWTH = 6;
/** Commits that one reply looks at: with a prefix that they rarely touch, its items would come late. */
const LOOKED_AT = 8192;

function originOf(state: Hash, commit: Commit): Origin {
  const { time = null, turn = null, session = null, device = null } = commit;
  return { state, time, event: commit.event.kind, turn, session, device };
}

function sizeOf({ turn, session }: Origin): number {
  return ORIGIN + JSON_GROWTH * ((turn?.length ?? 0) + (session?.length ?? 0));
}

async function blame(engine: StateEngine, request: AgentRequest<"kv.blame">): Promise<BlameReply> {
  const { key, prefix, after, limit = LIMITS.defaultPage } = request;
  const view = await engine.stateOf(request.branch, request.at);
  let entries: Entry[];
  if (key === undefined) {
    entries = await view.list("kv", {
      limit: limit + 1,
      ...(prefix === undefined ? {} : { prefix }),
      ...(after === undefined || after === "" ? {} : { after }),
    });
  } else {
    const entry = await view.get("kv", key);
    if (entry === null) throw missing(key, view.commit);
    entries = [entry];
  }
  const asked = entries.slice(0, limit);
  const origins = await engine.timeline.blame(
    view.commit,
    asked.map((entry) => entry.key),
  );
  const items: BlameItem[] = [];
  let room = LIMITS.replyBytes - 1024;
  for (const entry of asked) {
    const state = origins.get(entry.key)?.hash as Hash;
    const origin = originOf(state, await engine.commit(state));
    room -= sizeOf(origin) + CHANGE + JSON_GROWTH * entry.key.length;
    if (room < 0) break;
    items.push({ key: keyText(entry.key), hash: entry.hash, size: entry.size, ...origin });
  }
  return { items, next: entries.length > items.length ? (items.at(-1)?.key ?? null) : null, state: view.commit };
}

/** Where a reply ended: behind a commit; or in the changes of one, behind a key, with the parent that it is compared with. */
interface Position {
  readonly from: Hash;
  readonly within: { readonly hash: Hash; readonly key: Key } | null;
}

function positionText({ from, within }: Position): string {
  return within === null ? from : `${from}:${within.hash}:${keyText(within.key)}`;
}

function parsePosition(after: string): Position {
  const [, from, hash, key] = /^([0-9a-f]{64})(?::([0-9a-f]{64}):(.+))?$/s.exec(after) ?? [];
  if (!isHash(from))
    throw invalid("after is not a position of changes", { remedy: "pass the `next` of the reply before" });
  return { from, within: isHash(hash) && key !== undefined ? { hash, key: parseKey(key) } : null };
}

/** What a step changed of the keys with a prefix, in key order. */
async function* changesOf(
  engine: StateEngine,
  { hash, commit, parent }: Step,
  prefix: Key | "",
): AsyncGenerator<Entry | { key: Key; hash: null; size: 0 }> {
  if (parent === commit.parents[0] && commit.adopts === undefined) {
    for (const [key, value, size] of (await engine.changesOf(commit)).kv ?? []) {
      if (!key.startsWith(prefix)) continue;
      yield value === null ? { key, hash: null, size: 0 } : { key, hash: value, size };
    }
    return;
  }
  const [before, after] = [await engine.view(parent), await engine.view(hash)];
  for await (const { key, to } of before.diff("kv", after)) {
    if (key.startsWith(prefix)) yield to ?? { key, hash: null, size: 0 };
  }
}

async function changes(engine: StateEngine, request: AgentRequest<"kv.changes">): Promise<ChangesReply> {
  const { branch = MAIN, prefix = "", after, limit = LIMITS.defaultPage } = request;
  const { id, head: state } = engine.branch(branch);
  const start = after === undefined ? null : parsePosition(after);
  // A commit that is named in full is looked up as any other: it may not be here.
  const from = await engine.resolve(start?.from ?? request.from);
  const items: ChangesItem[] = [];
  let room = LIMITS.replyBytes - 4096;
  let position: Position = { from, within: null };

  /** Adds what a step changed; false when there is no room for all of it. */
  const add = async (step: Step, behind: Key | null): Promise<boolean> => {
    const origin = originOf(step.hash, step.commit);
    const found: KeyChange[] = [];
    let key: Key | null = behind;
    room -= sizeOf(origin);
    for await (const change of changesOf(engine, step, prefix)) {
      if (behind !== null && change.key <= behind) continue;
      const size = CHANGE + JSON_GROWTH * change.key.length;
      if (room < size || items.length === limit) {
        if (found.length > 0) items.push({ ...origin, changes: found, more: true });
        if (key !== null) position = { from: step.parent, within: { hash: step.hash, key } };
        return false;
      }
      room -= size;
      found.push({ ...change, key: keyText(change.key) });
      key = change.key;
    }
    if (found.length > 0) items.push({ ...origin, changes: found });
    position = { from: step.hash, within: null };
    return true;
  };

  const end = (): ChangesReply => {
    const whole = position.within === null && position.from === state;
    return { items, next: whole ? null : positionText(position), state };
  };
  if (start?.within != null) {
    const { hash, key } = start.within;
    const commit = await engine.commit(await engine.resolve(hash));
    if (!commit.parents.includes(from)) throw invalid("after is not a position of changes");
    if (!(await add({ hash, commit, parent: from }, key))) return end();
  }
  const breather = new Breather();
  for (const step of await engine.timeline.steps(position.from, { id, head: state }, LOOKED_AT)) {
    if (!(await add(step, null))) break;
    await breather.breathe();
  }
  return end();
}

/** `vlinder.v1.<agent>.kv.blame` and `kv.changes`. */
export function changesHandlers(core: Core): Handlers {
  return {
    "kv.blame": ({ agent, request }) => blame(agentOf(core, agent).engine, request),
    "kv.changes": ({ agent, request }) => changes(agentOf(core, agent).engine, request),
  };
}
