import type { AgentName, DiffItem, DiffReply } from "@vlinder/protocol";
import type { Client } from "@vlinder/agent-runtime";
import { agentArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { dim, green, red, yellow } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { size } from "../render/size.ts";
import type { Text } from "../render/text.ts";

export const defineDiff: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<from>", "a commit or branch")
    .argument("<to>", "a commit or branch")
    .action(
      act(async (context, name: string, fromText: string, toText: string): Promise<Outcome> => {
        const [agent, from, to] = [agentArgument(name), refArgument(fromText), refArgument(toText)];
        const reply = await diffOf(await context.client(), agent, from, to);
        const same = reply.items.length === 0 && !reply.contractChanged;
        return {
          json: reply,
          people: () => [
            { columns: [{}, {}, {}], rows: reply.items.map(rowOf) },
            ...(reply.contractChanged ? [[yellow("~"), " the contract"]] : []),
            ...(same ? [dim(`${short(reply.from)} and ${short(reply.to)} hold the same`)] : []),
          ],
        };
      }),
    );
};

/** Every page. A branch that moves meanwhile does not matter: the first reply says which commits they are. */
async function diffOf(client: Client, agent: AgentName, from: string, to: string): Promise<DiffReply> {
  const { first, items } = await collect(null, (after, limit, page: DiffReply | null) =>
    client.request(agent, "timeline.diff", { from: page?.from ?? from, to: page?.to ?? to, after, limit }),
  );
  return { ...first, items, next: null };
}

function rowOf({ space, key, from, to }: DiffItem): Text[] {
  const shown: Text = space === "vectors" ? [key, dim(" (vector)")] : key;
  if (from === null) return [green("+"), shown, to === null ? "" : size(to.size)];
  if (to === null) return [red("-"), shown, size(from.size)];
  return [yellow("~"), shown, from.size === to.size ? size(to.size) : `${size(from.size)} → ${size(to.size)}`];
}
