import {
  type AgentRequest,
  type BranchName,
  changeCount,
  type ChangeItem,
  checkProof,
  type Commit,
  type CommitItem,
  type DiffItem,
  type Hash,
  invalid,
  keyText,
  LIMITS,
  MAIN,
  parseKeyPrefix,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { Space } from "../state/api.ts";
import type { StateEngine } from "../state/engine.ts";
import { agentOf } from "./agent-access.ts";
import { listedConflictItems, mergeConflictItems, SHOWN_BYTES, shown } from "./conflict-item.ts";
import type { AgentHandlers } from "./service.ts";
import { verify } from "./verify.ts";

type Handlers = Omit<
  Pick<AgentHandlers, Extract<keyof AgentHandlers, `timeline.${string}`>>,
  "timeline.gc" | "timeline.forget" | "timeline.value"
>;

/** So many branches fit in any reply, however long their names are. */
const BRANCHES = Math.floor((LIMITS.replyBytes - 1024) / 400);

async function commitItem(engine: StateEngine, hash: Hash, commit: Commit): Promise<CommitItem> {
  return {
    hash,
    parents: commit.parents,
    branch: commit.branch ?? null,
    snapshot: commit.snapshot,
    event: commit.event,
    time: commit.time ?? null,
    device: commit.device ?? null,
    session: commit.session ?? null,
    turn: commit.turn ?? null,
    adopts: commit.adopts ?? null,
    changed: changeCount(await engine.changesOf(commit)),
  };
}

/** Where a page of differences went on: `kv:` or `vectors:` and a key. */
function parsePosition(after: string | undefined): { space: Space; key: string } | null {
  if (after === undefined) return null;
  const match = /^(kv|vectors):(.*)$/s.exec(after);
  if (match === null)
    throw invalid("after is not a position of a diff", { remedy: "pass the `next` of the reply before" });
  return { space: match[1] as Space, key: parseKeyPrefix(match[2] as string) };
}

async function diff(engine: StateEngine, request: AgentRequest<"timeline.diff">) {
  const { after, limit = LIMITS.defaultPage, prefix = "" } = request;
  const [from, to] = [await engine.resolve(request.from), await engine.resolve(request.to)];
  const position = parsePosition(after);
  const [a, b] = [await engine.view(from), await engine.view(to)];
  const items: DiffItem[] = [];
  const spaces: readonly Space[] = position?.space === "vectors" ? ["vectors"] : ["kv", "vectors"];
  let next: string | null = null;
  let room = LIMITS.replyBytes - 1024;
  pages: for (const space of spaces) {
    for await (const entry of a.diff(space, b)) {
      if (position !== null && position.space === space && entry.key <= position.key) continue;
      if (!entry.key.startsWith(prefix)) {
        if (entry.key > prefix) break;
        continue;
      }
      const key = keyText(entry.key);
      const last = items.at(-1);
      room -= 6 * key.length + 320;
      if (items.length === limit || room < 0) {
        next = last === undefined ? null : `${last.space}:${last.key}`;
        break pages;
      }
      const side = (one: typeof entry.from): DiffItem["from"] =>
        one === null ? null : { hash: one.hash, size: one.size };
      items.push({ space, key, from: side(entry.from), to: side(entry.to) });
    }
  }
  return { from, to, items, contractChanged: a.snapshot.contract !== b.snapshot.contract, next };
}

/** `vlinder.v1.<agent>.timeline.*` */
export function timelineHandlers(core: Core): Handlers {
  const engineOf = (agent: Parameters<typeof agentOf>[1]): StateEngine => agentOf(core, agent).engine;
  return {
    "timeline.log": async ({ agent, request }) => {
      const engine = engineOf(agent);
      const { from = MAIN, all = false, after, limit = LIMITS.defaultPage } = request;
      if (all && request.from !== undefined) {
        throw invalid("all and from exclude each other", { remedy: "all begins at every branch's head: drop from" });
      }
      const last = after === undefined ? undefined : await engine.resolve(after);
      const heads = all ? engine.liveBranches().map(({ head }) => head) : [await engine.resolve(from)];
      const page = { from: heads, asked: all ? "" : from, after: last, limit };
      const { items, next } = await engine.timeline.logPage(page);
      return { items: await Promise.all(items.map(({ hash, commit }) => commitItem(engine, hash, commit))), next };
    },
    "timeline.show": async ({ agent, request }) => {
      const engine = engineOf(agent);
      const hash = await engine.resolve(request.ref);
      const commit = await engine.commit(hash);
      const { kv = [], vectors = [] } = await engine.changesOf(commit);
      const view = await engine.view(hash);
      const item = (
        space: Space,
        [key, value, size]: readonly [(typeof kv)[number][0], Hash | null, number],
      ): ChangeItem => ({
        space,
        key: keyText(key),
        hash: value,
        size,
      });
      const changes = [...kv.map((c) => item("kv", c)), ...vectors.map((c) => item("vectors", c))];
      const [keys, embeddings] = [await view.totals("kv"), await view.totals("vectors")];
      const conflicts = await listedConflictItems(engine, commit);
      return {
        ...(await commitItem(engine, hash, commit)),
        changes: shown(changes, conflicts.length === 0 ? SHOWN_BYTES : SHOWN_BYTES / 2),
        contract: view.snapshot.contract,
        keys: keys.count,
        bytes: keys.bytes + embeddings.bytes,
        vectors: embeddings.count,
        ...(conflicts.length === 0 ? {} : { conflicts: shown(conflicts, SHOWN_BYTES / 2) }),
      };
    },
    "timeline.diff": ({ agent, request }) => diff(engineOf(agent), request),
    "timeline.branches": async ({ agent, request: { after = "", limit = BRANCHES } }) => {
      const engine = engineOf(agent);
      const branches = engine
        .liveBranches()
        .filter(({ name }) => name > after)
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      const page = branches.slice(0, Math.min(limit, BRANCHES));
      const items = await Promise.all(
        page.map(async ({ id, name, head, sealed }) => ({
          id,
          name,
          head,
          sealed,
          time: (await engine.commit(head)).time ?? null,
        })),
      );
      return { items, next: branches.length > page.length ? (page.at(-1)?.name ?? null) : null };
    },
    "timeline.delete_branch": async ({ agent, request }) => {
      const reply = await engineOf(agent).deleteBranch(request.branch);
      core.index(agentOf(core, agent));
      return reply;
    },
    "timeline.reflog": async ({ agent, request }) => {
      const entries = await engineOf(agent).reflog(request.branch, request.limit ?? LIMITS.defaultPage);
      return { items: entries.map(({ name, from, to, time, why }) => ({ branch: name, from, to, time, why })) };
    },
    "timeline.fork": async ({ agent, request }) => {
      const engine = engineOf(agent);
      const from = await engine.resolve(request.from ?? MAIN);
      const { branch, state } = await engine.fork(request.name, from, request.id, request.from ?? MAIN);
      core.index(agentOf(core, agent));
      return { branch, name: request.name, state };
    },
    "timeline.promote": async ({ agent, request }) => {
      const reply = await engineOf(agent).promote(request.branch, request.into ?? MAIN, request.id);
      core.index(agentOf(core, agent));
      return reply;
    },
    "timeline.rewind": async ({ agent, request }) => {
      const engine = engineOf(agent);
      const reply = await engine.rewind(
        request.branch ?? MAIN,
        await engine.resolve(request.to),
        request.id,
        request.to,
      );
      core.index(agentOf(core, agent));
      return reply;
    },
    "timeline.merge": async ({ agent, request }) => {
      const engine = engineOf(agent);
      const into: BranchName = request.into ?? MAIN;
      const { prefer, dry } = request;
      const how = { ...(prefer && { prefer }), ...(dry && { dry }) };
      const theirs = await engine.resolve(request.from);
      const reply = await engine.merge(into, theirs, how, request.id, request.from);
      core.index(agentOf(core, agent));
      const { state, kind, ours } = reply;
      return { state, kind, ours, theirs, conflicts: shown(mergeConflictItems(reply), SHOWN_BYTES) };
    },
    "timeline.verify": async ({ agent, request, progress }) => {
      const engine = engineOf(agent);
      const at = request.at === undefined ? null : await engine.resolve(request.at);
      return await verify(engine, at, progress);
    },
    "timeline.prove": async ({ agent, request }) => {
      const engine = engineOf(agent);
      const { key, space = "kv" } = request;
      const state = await engine.resolve(request.at ?? MAIN);
      const proof = await engine.prove(state, space, key);
      const found = checkProof(proof, { key, space, trusted: { commit: state } });
      const { hash, size } = found.present ? found : { hash: null, size: 0 };
      return { state, snapshot: (await engine.commit(state)).snapshot, present: found.present, hash, size, proof };
    },
  };
}
