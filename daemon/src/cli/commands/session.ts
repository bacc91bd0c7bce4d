import type { SessionItem } from "@vlinder/protocol";
import { LIMITS } from "@vlinder/protocol";
import { agentArgument, countArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { dim } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";
import { shellQuoted } from "../render/shell.ts";
import { count } from "../render/size.ts";
import { ago } from "../render/time.ts";
import { kindText, turnBlocks } from "../render/turns.ts";

interface ListOptions {
  readonly limit: string;
}

export const defineSession: Define = (command, act) => {
  command
    .command("list")
    .description("the sessions of an agent, the one of the last turn first")
    .argument("<agent>")
    .option("-n, --limit <number>", "at most so many", "50")
    .action(
      act(async (context, name: string, options: ListOptions): Promise<Outcome> => {
        const [agent, wanted] = [agentArgument(name), countArgument(options.limit)];
        const client = await context.client();
        const { items, next } = await collect(wanted, (after, limit) =>
          client.request(agent, "session.list", { after, limit }),
        );
        return {
          json: { items, next },
          people: () => [
            {
              columns: [
                { head: "session" },
                { head: "turns", right: true },
                { head: "began" },
                { head: "last turn" },
                { head: "" },
                { head: "commit" },
              ],
              rows: items.map(row),
            },
            ...(items.length === 0 ? [dim(`${agent} has had no turn yet: vlinder run ${agent}`)] : []),
            ...(next === null ? [] : [dim("more: give a larger --limit")]),
          ],
        };
      }),
    );
  command
    .command("get")
    .description("the turns of a session, oldest first")
    .argument("<agent>")
    .argument("<session>")
    .option("-n, --limit <number>", "the newest so many", "20")
    .action(
      act(async (context, name: string, session: string, options: ListOptions): Promise<Outcome> => {
        const [agent, limit] = [agentArgument(name), countArgument(options.limit, LIMITS.page)];
        const reply = await (await context.client()).request(agent, "session.get", { session, limit });
        const { turns, items } = reply;
        return {
          json: reply,
          people: () => [
            ...turnBlocks(items, ago),
            dim(
              [
                ...(items.length < turns ? [`the newest ${count(items.length)} of ${count(turns)} turns`] : []),
                `go on with it: vlinder run ${agent} --session ${shellQuoted(session)}`,
              ].join("; "),
            ),
          ],
        };
      }),
    );
};

function row({ session, turns, began, time, last }: SessionItem) {
  return [session, count(turns), ago(began), ago(time), kindText(last.kind), shortHash(last.commit)];
}
