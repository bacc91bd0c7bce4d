import type { Damage, VerifyReply } from "@vlinder/protocol";
import { agentArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { remedyLines } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green, red } from "../render/color.ts";
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

function verifyBlocks(reply: VerifyReply): Block[] {
  const { ok, counts, bytes, seconds, damage, damaged, unreachable } = reply;
  const speed = seconds >= 1 ? ` (${size(Math.round(bytes / seconds))}/s)` : "";
  const read =
    `${counted(counts.branches, "branch", "branches")}, ${counted(counts.commits, "commit")}, ` +
    `${counted(counts.nodes, "node")}, ${counted(counts.values, "value")}, ${size(bytes)}, in ${seconds.toFixed(1)} s${speed}`;
  if (ok) {
    const rest = `${counted(unreachable, "object is", "objects are")} there that no branch reaches: that is no damage`;
    return [[green("all intact: "), read], ...(unreachable === 0 ? [] : [dim(rest)])];
  }
  return [
    [red(`${counted(damaged, "object is", "objects are")} not intact; read: `), read],
    {
      columns: [{ head: "object" }, { head: "hash" }, { head: "problem" }, { head: "affects" }, { head: "" }],
      rows: damage.map((one): Text[] => [one.kind, shortHash(one.hash), red(one.problem), affected(one), one.message]),
    },
    ...(damaged > damage.length ? [dim(`these are the first ${damage.length}`)] : []),
    ...remedyLines("keep the home as it is; `vlinder clone` into another VLINDER_HOME brings back what the bucket has"),
  ];
}

function affected({ keys, commits, affects }: Damage): string {
  const names = keys.length > 0 ? keys : commits.map(short);
  const more = names.length - EXAMPLES;
  const several = keys.length > 0 && affects.commits > 1 ? ` (in ${counted(affects.commits, "commit")})` : "";
  return names.slice(0, EXAMPLES).join(", ") + (more > 0 ? ` and ${more} more` : "") + several;
}
