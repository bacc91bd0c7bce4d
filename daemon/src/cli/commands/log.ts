import type { CommitItem } from "@vlinder/protocol";
import { agentArgument, countArgument, type ReadOptions, readFieldsOf, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { dim } from "../render/color.ts";
import { eventText } from "../render/event.ts";
import { shortHash } from "../render/hash.ts";
import { count } from "../render/size.ts";
import { ago } from "../render/time.ts";

interface LogOptions extends ReadOptions {
  readonly limit: string;
  readonly after?: string;
}

export const defineLog: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("-n, --limit <number>", "how many", "20")
    .option("--after <commit>", "only what is older than this commit")
    .option("--at <commit>", "begin at this commit")
    .option("--branch <name>", "the branch, default main")
    .action(
      act(async (context, name: string, options: LogOptions): Promise<Outcome> => {
        const [agent, { at, branch }] = [agentArgument(name), readFieldsOf(options)];
        const wanted = countArgument(options.limit);
        const from = at ?? branch;
        const start = options.after === undefined ? undefined : refArgument(options.after);
        const client = await context.client();
        const { items, next } = await collect(wanted, (after, limit) =>
          client.request(agent, "timeline.log", { from, after: after ?? start, limit }),
        );
        return {
          json: { items, next },
          people: () => [
            {
              columns: [
                { head: "state" },
                { head: "time" },
                { head: "event" },
                { head: "changed", right: true },
                { head: "session/turn" },
              ],
              rows: items.map((item) => [
                shortHash(item.hash),
                ago(item.time),
                eventText(item),
                item.changed === 0 ? "" : count(item.changed),
                origin(item),
              ]),
            },
            ...(next === null ? [] : [dim(`more: vlinder log ${agent}${of(branch)} --after ${next.slice(0, 12)}`)]),
          ],
        };
      }),
    );
};

/** The session and turn that a commit belongs to. */
export function origin({ session, turn }: Pick<CommitItem, "session" | "turn">): string {
  return [session, turn].filter((one) => one !== null).join("/");
}

function of(branch: string | undefined): string {
  return branch === undefined ? "" : ` --branch ${branch}`;
}
