import { agentArgument, branchArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { dim, green } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";

export const definePromote: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<branch>", "the branch that takes main's place")
    .option("--into <branch>", "take this one's place", "main")
    .action(
      act(async (context, name: string, branchText: string, options: { into: string }): Promise<Outcome> => {
        const [agent, branch] = [agentArgument(name), branchArgument(branchText)];
        const into = branchArgument(options.into);
        const reply = await (await context.client()).request(agent, "timeline.promote", { branch, into });
        const on = into === "main" ? "" : ` --branch ${into}`;
        return {
          json: reply,
          people: () => [
            [green("promoted "), `${branch}: ${into} holds what it does; state `, shortHash(reply.state)],
            `what ${into} held is kept sealed as ${reply.sealed}`,
            dim(`undo: vlinder rewind ${agent} --to ${reply.sealed}${on}`),
            dim(`${branch} stays a branch; when it is no longer needed: vlinder branch delete ${agent} ${branch}`),
          ],
        };
      }),
    );
};
