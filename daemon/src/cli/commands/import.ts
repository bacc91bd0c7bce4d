import { resolve } from "node:path";
import type { Command } from "commander";
import { agentArgument } from "../arguments.ts";
import type { Act, Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { bold, dim, green } from "../render/color.ts";
import { pullBlocks } from "../render/pulled.ts";

export const defineImport: Define = (command, act) => {
  defineArchive(command, act);
};

function defineArchive(command: Command, act: Act): void {
  command
    .command("archive", { isDefault: true })
    .description("bring an agent from the tar that `vlinder export` wrote (the word may be left out)")
    .argument("<tar>", "the file, on the daemon's machine")
    .option("--into <agent>", "merge it into this agent, as a pull does; else it is a new one")
    .action(
      act(async (context, file: string, { into }: { into?: string }): Promise<Outcome> => {
        const request = { path: resolve(file), ...(into === undefined ? {} : { into: agentArgument(into) }) };
        const client = await context.client();
        const reply = await client.admin("agents.import", request, { onProgress: context.progress });
        return {
          json: reply,
          people: () => [
            [green("imported "), `${reply.agent}${reply.created ? "   new here" : ""}`],
            ...pullBlocks({ agents: [{ ...reply, error: null }] }),
            ["next: ", bold(`vlinder log ${reply.agent}`), dim("   and vlinder agent add DIR, where its code is")],
          ],
        };
      }),
    );
}
