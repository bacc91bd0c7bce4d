import { agentArgument, branchFieldOf, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { dim, green } from "../render/color.ts";
import { short, shortHash, shortRef } from "../render/hash.ts";

export const defineRewind: Define = (command, act) => {
  command
    .argument("<agent>")
    .requiredOption("--to <ref>", "the commit, branch or time whose keys and vectors it takes")
    .option("--branch <name>", "the branch, default main")
    .action(
      act(async (context, name: string, options: { to: string; branch?: string }): Promise<Outcome> => {
        const [agent, to, branch] = [agentArgument(name), refArgument(options.to), branchFieldOf(options)];
        const client = await context.client();
        const [before] = (await client.request(agent, "timeline.log", { from: branch.branch, limit: 1 })).items;
        const on = branch.branch === undefined ? "" : ` --branch ${branch.branch}`;
        const reply = await client.request(agent, "timeline.rewind", { to, ...branch });
        return {
          json: reply,
          people: () => [
            [
              green("rewound "),
              branch.branch ?? "main",
              ` to what ${shortRef(to)} held; state `,
              shortHash(reply.state),
            ],
            ...(before === undefined ? [] : [dim(`undo: vlinder rewind ${agent} --to ${short(before.hash)}${on}`)]),
          ],
        };
      }),
    );
};
