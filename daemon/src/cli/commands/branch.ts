import { agentArgument, branchArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { bold, dim, red } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { ago } from "../render/time.ts";
import { allBranches } from "./branch-pages.ts";

export const defineBranch: Define = (command, act) => {
  command
    .command("list")
    .description("the branches of an agent")
    .argument("<agent>")
    .action(
      act(async (context, name: string): Promise<Outcome> => {
        const agent = agentArgument(name);
        const items = await allBranches(await context.client(), agent);
        return {
          json: { items },
          people: () => [
            {
              columns: [{ head: "branch" }, { head: "state" }, { head: "last change" }, { head: "" }],
              rows: items.map((item) => [
                item.name === "main" ? bold(item.name) : item.name,
                shortHash(item.head),
                ago(item.time),
                item.sealed ? "sealed" : "",
              ]),
            },
          ],
        };
      }),
    );
  command
    .command("delete")
    .description("delete a branch; its commits stay where others reach them")
    .argument("<agent>")
    .argument("<branch>")
    .action(
      act(async (context, name: string, branchText: string): Promise<Outcome> => {
        const [agent, branch] = [agentArgument(name), branchArgument(branchText)];
        const reply = await (await context.client()).request(agent, "timeline.delete_branch", { branch });
        return {
          json: reply,
          people: () => [
            [red("deleted "), branch, ", which was at ", shortHash(reply.state)],
            dim(`bring it back: vlinder fork ${agent} --from ${short(reply.state)} --name ${branch}`),
          ],
        };
      }),
    );
};
