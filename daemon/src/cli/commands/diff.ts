import type { AgentName, DiffReply } from "@vlinder/protocol";
import type { Client } from "@vlinder/agent-runtime";
import { agentArgument, prefixArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Block, Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { dim, yellow } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { countsOf, countsText, differenceTable, valueBlocks, withValues } from "../values/diff-report.ts";

interface Options {
  readonly values?: true;
  readonly prefix?: string;
}

export const defineDiff: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<from>", "a commit, branch, turn or time")
    .argument("<to>", "a commit, branch, turn or time")
    .option("--values", "what changed in the values: lines of text, places of JSON")
    .option("--prefix <prefix>", "only keys that begin with this")
    .action(
      act(async (context, name: string, fromText: string, toText: string, options: Options): Promise<Outcome> => {
        const [agent, from, to] = [agentArgument(name), refArgument(fromText), refArgument(toText)];
        const prefix = options.prefix === undefined ? {} : { prefix: prefixArgument(options.prefix) };
        const client = await context.client();
        const reply = await diffOf(client, agent, { from, to, ...prefix });
        const counts = countsOf(reply.items);
        const document = { ...reply, counts };
        if (options.values !== true) {
          return { json: document, people: () => [differenceTable(reply.items), ...summary(reply)] };
        }
        if (context.json) {
          const items = await withValues(client, agent, reply);
          return { json: { ...document, items }, people: () => [] };
        }
        const later = async function* () {
          for await (const people of valueBlocks(client, agent, reply)) yield { json: {}, people };
          yield { json: {}, people: summary(reply) };
        };
        return { json: document, people: () => [], later: later() };
      }),
    );
};

/** Every page of a difference. A branch that moves meanwhile does not matter: the first reply says which commits they are. */
export async function diffOf(
  client: Client,
  agent: AgentName,
  request: { readonly from: string; readonly to: string; readonly prefix?: string },
): Promise<DiffReply> {
  const { first, items } = await collect(null, (after, limit, page: DiffReply | null) =>
    client.request(agent, "timeline.diff", { ...request, ...(page && { from: page.from, to: page.to }), after, limit }),
  );
  return { ...first, items, next: null };
}

function summary({ from, to, items, contractChanged }: DiffReply): Block[] {
  const same = items.length === 0 && !contractChanged;
  return [
    ...(contractChanged ? [[yellow("~"), " the contract"]] : []),
    ...(same ? [dim(`${short(from)} and ${short(to)} hold the same`)] : []),
    ...(items.length === 0 ? [] : [dim(countsText(countsOf(items)))]),
  ];
}
