import { agentArgument, branchFieldOf, countArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { red } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";
import { ago } from "../render/time.ts";

/** As many as the protocol gives in one reply. */
const MOST = 1000;

export const defineReflog: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("-n, --limit <number>", "how many", "50")
    .option("--branch <name>", "only this branch")
    .action(
      act(async (context, name: string, options: { branch?: string; limit: string }): Promise<Outcome> => {
        const [agent, branch] = [agentArgument(name), branchFieldOf(options)];
        const limit = countArgument(options.limit, MOST);
        const reply = await (await context.client()).request(agent, "timeline.reflog", { limit, ...branch });
        return {
          json: reply,
          people: () => [
            {
              columns: [{ head: "time" }, { head: "branch" }, { head: "from" }, { head: "to" }, { head: "why" }],
              rows: reply.items.map((item) => [
                ago(item.time),
                item.branch,
                item.from === null ? "new" : shortHash(item.from),
                item.to === null ? red("deleted") : shortHash(item.to),
                item.why,
              ]),
            },
          ],
        };
      }),
    );
};
