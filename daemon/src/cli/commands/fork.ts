import { agentArgument, branchArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { dim, green } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";

export const defineFork: Define = (command, act) => {
  command
    .argument("<agent>")
    .requiredOption("--name <name>", "the new branch")
    .option("--from <ref>", "a branch, commit, turn or time, default main")
    .action(
      act(async (context, agentName: string, options: { name: string; from?: string }): Promise<Outcome> => {
        const [agent, name] = [agentArgument(agentName), branchArgument(options.name)];
        const from = options.from === undefined ? undefined : refArgument(options.from);
        const reply = await (await context.client()).request(agent, "timeline.fork", { name, from });
        return {
          json: reply,
          people: () => [
            [green("forked "), reply.name, " at ", shortHash(reply.state)],
            dim(
              `work on it with --branch ${reply.name}; bring it back: vlinder merge ${agent} ${reply.name} --into main`,
            ),
          ],
        };
      }),
    );
};
