import type { BlameReply } from "@vlinder/protocol";
import { agentArgument, countArgument, prefixArgument, type ReadOptions, readFieldsOf } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { dim } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { size } from "../render/size.ts";
import { ago } from "../render/time.ts";
import { AT, BRANCH } from "./kv-options.ts";
import { origin } from "../render/event.ts";

interface BlameOptions extends ReadOptions {
  readonly limit?: string;
}

export const defineBlame: Define = (command, act) => {
  command
    .description("which commit, and so which turn, wrote what is there now")
    .argument("<agent>")
    .argument("[prefix]", "a key, or how keys begin; absent: all")
    .option("-n, --limit <number>", "at most so many, default all")
    .option(...AT)
    .option(...BRANCH)
    .action(
      act(async (context, name: string, text: string | undefined, options: BlameOptions): Promise<Outcome> => {
        const [agent, fields] = [agentArgument(name), readFieldsOf(options)];
        const prefix = text === undefined ? {} : { prefix: prefixArgument(text) };
        const wanted = options.limit === undefined ? null : countArgument(options.limit);
        const client = await context.client();
        const { first, items, next } = await collect(wanted, (after, limit, page: BlameReply | null) =>
          client.request(agent, "kv.blame", {
            ...prefix,
            after,
            limit,
            // One state, however many pages it takes.
            ...(page === null ? fields : { at: page.state }),
          }),
        );
        return {
          json: { items, next, state: first.state },
          people: () => [
            {
              columns: [
                { head: "key" },
                { head: "state" },
                { head: "time" },
                { head: "event" },
                { head: "size", right: true },
                { head: "session/turn" },
              ],
              rows: items.map((item) => [
                item.key,
                shortHash(item.state),
                ago(item.time),
                item.event,
                size(item.size),
                origin(item),
              ]),
            },
            ...(items.length === 0 ? [dim(`no key at ${short(first.state)}`)] : []),
            ...(next === null ? [] : [dim("more: give a larger --limit, or none")]),
          ],
        };
      }),
    );
};
