import { resolve } from "node:path";
import { agentArgument, branchArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Outcome } from "../outcome.ts";
import { bold, dim, green } from "../render/color.ts";
import { shellQuoted } from "../render/shell.ts";
import { counted, size } from "../render/size.ts";

interface ExportOptions {
  readonly branch?: string;
  readonly force?: true;
}

export const defineExport: Define = (command, act) => {
  command
    .argument("<agent>")
    .argument("<tar>", "the file to write, on the daemon's machine")
    .option("--branch <name>", "only what this branch reaches; else all branches")
    .option("--force", "replace a file that is there")
    .action(
      act(async (context, name: string, file: string, { branch, force }: ExportOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const request = {
          agent,
          path: resolve(file),
          ...(branch === undefined ? {} : { branch: branchArgument(branch) }),
          overwrite: force === true,
        };
        const client = await context.client();
        const reply = await client.admin("agents.export", request, { onProgress: context.progress });
        const held = `${counted(reply.commits, "commit")}, ${counted(reply.objects, "object")}`;
        return {
          json: reply,
          people: () => [
            [green("exported "), `${agent}: ${held}, ${size(reply.bytes)}`],
            [dim("file     "), reply.path],
            ["check: ", bold(`tar xf ${shellQuoted(file)} && sha256sum -c SHA256SUMS`)],
            ["next:  ", bold(`vlinder import ${shellQuoted(file)}`), dim("   on another machine")],
          ],
        };
      }),
    );
};
