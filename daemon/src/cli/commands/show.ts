import type { Client } from "@vlinder/agent-runtime";
import { type AgentName, asVlinderError, type Hash, LIMITS, type ShowReply } from "@vlinder/protocol";
import { agentArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, red, yellow } from "../render/color.ts";
import { callFacts } from "../render/call.ts";
import { conflictBlocks } from "../render/conflicts.ts";
import { eventText } from "../render/event.ts";
import { short } from "../render/hash.ts";
import { counted, size } from "../render/size.ts";
import { facts } from "../render/table.ts";
import { ago } from "../render/time.ts";
import { eventValueBlocks } from "../values/event-value-lines.ts";
import { type EventValue, eventValues } from "../values/event-values.ts";
import {
  countsOf,
  countsText,
  type Differences,
  differenceTable,
  valueBlocks,
  withValues,
} from "../values/diff-report.ts";

/** What a commit changed against the state before it, as far as one reply has it. */
interface Against extends Differences {
  readonly from: Hash;
  readonly more: boolean;
}

export const defineShow: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<ref>", "a commit, a branch for its newest, a turn or a time")
    .option(
      "--values",
      "what changed in the values, and what the commit itself has: a call's request and response, a turn's input",
    )
    .action(
      act(async (context, name: string, refText: string, options: { values?: true }): Promise<Outcome> => {
        const [agent, ref] = [agentArgument(name), refArgument(refText)];
        const client = await context.client();
        const reply = await client.request(agent, "timeline.show", { ref });
        const against = await againstParent(client, agent, reply);
        const values = options.values === true ? await eventValues(client, agent, reply) : null;
        const head = headBlocks(reply, against, values);
        const tail = conflictsOf(agent, reply);
        const own = { ...reply, ...(values === null ? {} : { values: Object.fromEntries(values) }) };
        if (against === null) {
          return { json: { ...own, against: null }, people: () => [...head, ...listed(reply), ...tail] };
        }
        const { from, items, more } = against;
        const document = { ...own, against: { state: from, counts: countsOf(items), items, more } };
        if (options.values !== true) {
          return {
            json: document,
            people: () => [...head, differenceTable(items), ...summary(against), ...tail],
          };
        }
        if (context.json) {
          const all = await withValues(client, agent, against);
          return { json: { ...document, against: { ...document.against, items: all } }, people: () => [] };
        }
        const later = async function* () {
          yield { json: {}, people: head };
          for await (const people of valueBlocks(client, agent, against)) yield { json: {}, people };
          yield { json: {}, people: [...summary(against), ...tail] };
        };
        return { json: document, people: () => [], later: later() };
      }),
    );
};

/**
 * A commit is compared with its first parent, a promote with the branch that it replaced. Null: there is none, or
 * retention has dropped its state.
 */
async function againstParent(client: Client, agent: AgentName, reply: ShowReply): Promise<Against | null> {
  const from = reply.event.kind === "promote" ? reply.parents[1] : reply.parents[0];
  if (from === undefined) return null;
  try {
    const diff = await client.request(agent, "timeline.diff", { from, to: reply.hash, limit: LIMITS.page });
    return { from, to: reply.hash, items: diff.items, more: diff.next !== null };
  } catch (thrown) {
    if (asVlinderError(thrown).code !== "pruned") throw thrown;
    return null;
  }
}

function headBlocks(reply: ShowReply, against: Against | null, own: ReadonlyMap<string, EventValue> | null): Block[] {
  const { contract } = reply;
  const { kind, info, values } = reply.event;
  const isCall = kind === "call";
  const result = kind === "effect" ? values?.["result"] : undefined;
  return [
    facts([
      ["commit", yellow(reply.hash)],
      ["event", eventText(reply)],
      ...(isCall ? callFacts(reply.event) : []),
      ["about", info === undefined || isCall || kind === "promote" ? null : JSON.stringify(info)],
      ["result", result === undefined ? null : `${short(result[0])}, ${size(result[1])}`],
      ["time", reply.time === null ? null : `${reply.time}   ${ago(reply.time)}`],
      ["parents", reply.parents.length === 0 ? "none: it is the first" : reply.parents.map(short).join(", ")],
      ["snapshot", short(reply.snapshot)],
      ["contract", contract === null ? null : short(contract)],
      ["session", reply.session],
      ["turn", reply.turn],
      ["device", reply.device === null ? null : short(reply.device)],
      ["holds", `${counted(reply.keys, "key")}, ${counted(reply.vectors, "vector")}, ${size(reply.bytes)}`],
      ["against", against === null || reply.parents.length === 1 ? null : short(against.from)],
    ]),
    ...(own === null ? [] : eventValueBlocks(own)),
    ...((against?.items ?? reply.changes).length === 0 ? [] : [""]),
  ];
}

function summary({ items, more }: Against): Block[] {
  if (items.length === 0) return [];
  return [dim(more ? `${countsText(countsOf(items))}, and more: vlinder diff has all` : countsText(countsOf(items)))];
}

/** The commit's own list, where there is nothing to compare it with. */
function listed({ changes, changed }: ShowReply): Block[] {
  return [
    {
      columns: [{}, {}, { right: true }, {}],
      rows: changes.map(({ space, key, hash, size: bytes }) => [
        hash === null ? red("-") : green("+"),
        space === "vectors" ? [key, dim(" (vector)")] : key,
        hash === null ? "" : size(bytes),
        hash === null ? red("deleted") : dim(short(hash)),
      ]),
    },
    ...(changed > changes.length ? [dim(`${counted(changed, "change")} in all`)] : []),
  ];
}

function conflictsOf(agent: AgentName, { conflicts = [], parents }: ShowReply): Block[] {
  if (conflicts.length === 0) return [];
  return ["", ...conflictBlocks(agent, conflicts, ({ at }) => short(parents.find((parent) => parent !== at) ?? at))];
}
