import type { Change } from "@vlinder/agent-runtime";
import { agentArgument, branchFieldOf, prefixArgument, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, red, yellow } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { size } from "../render/size.ts";
import { BRANCH } from "./kv-options.ts";
import { origin } from "../render/event.ts";

interface WatchOptions {
  readonly from?: string;
  readonly branch?: string;
}

export const defineWatch: Define = (command, act) => {
  command
    .description("what changes, commit by commit, until Ctrl-C")
    .argument("<agent>")
    .argument("[prefix]", "only keys that begin so")
    .option("--from <ref>", "begin with what came after this state; default: now")
    .option(...BRANCH)
    .action(
      act(async (context, name: string, text: string | undefined, options: WatchOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const prefix = text === undefined ? "" : prefixArgument(text);
        const from = options.from === undefined ? {} : { from: refArgument(options.from) };
        const branch = branchFieldOf(options);
        const client = await context.client();
        const { watch } = await import("@vlinder/agent-runtime");
        return { json: {}, people: () => [], later: shown(watch({ client, agent, ...branch }, prefix, from)) };
      }),
    );
};

async function* shown(
  changes: AsyncIterable<Change>,
): AsyncGenerator<{ readonly json: object; readonly people: readonly Block[] }> {
  for await (const change of changes) yield { json: change, people: blocksOf(change) };
}

function blocksOf(change: Change): Block[] {
  const { state, time, event, changes } = change;
  return [
    [shortHash(state), dim(`  ${time ?? ""}  `), event, dim(`  ${origin(change)}`)],
    {
      columns: [{}, {}, { right: true }, {}],
      rows: changes.map(({ key, hash, size: bytes }) =>
        hash === null ? [red("  -"), key, "", ""] : [yellow("  ~"), key, size(bytes), dim(short(hash))],
      ),
    },
  ];
}
