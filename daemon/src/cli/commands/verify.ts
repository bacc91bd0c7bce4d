import type { Damage, VerifyReply } from "@vlinder/protocol";
import { agentArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { remedyLines } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { green, red } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { counted, size } from "../render/size.ts";
import type { Text } from "../render/text.ts";

/** Of what a damaged object affects, so much is shown. */
const EXAMPLES = 3;

export const defineVerify: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("--at <ref>", "only what this commit or branch reaches")
    .action(
      act(async (context, name: string, options: { at?: string }): Promise<Outcome> => {
        const agent = agentArgument(name);
        const at = options.at === undefined ? undefined : refArgument(options.at);
        const client = await context.client();
        const reply = await client.request(agent, "timeline.verify", { at }, { onProgress: context.progress });
        return { json: reply, failed: !reply.ok, people: () => verifyBlocks(reply) };
      }),
    );
};

function verifyBlocks({ ok, counts, bytes, seconds, damage }: VerifyReply): Block[] {
  const read =
    `${counted(counts.branches, "branch", "branches")}, ${counted(counts.commits, "commit")}, ` +
    `${counted(counts.nodes, "node")}, ${counted(counts.values, "value")}, ${size(bytes)}, in ${seconds.toFixed(1)} s`;
  if (ok) return [[green("all intact: "), read]];
  return [
    [red(`${counted(damage.length, "object is", "objects are")} not intact; read: `), read],
    {
      columns: [{ head: "object" }, { head: "hash" }, { head: "problem" }, { head: "affects" }, { head: "" }],
      rows: damage.map((one): Text[] => [one.kind, shortHash(one.hash), red(one.problem), affected(one), one.message]),
    },
    ...remedyLines("keep the home as it is; `vlinder clone` into another VLINDER_HOME brings back what the bucket has"),
  ];
}

function affected({ keys, commits }: Damage): string {
  const names = keys.length > 0 ? keys : commits.map(short);
  const more = names.length - EXAMPLES;
  return names.slice(0, EXAMPLES).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
