import type { AgentName, CommitItem, Hash } from "@vlinder/protocol";
import { agentArgument, countArgument, type ReadOptions, readFieldsOf, refArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim } from "../render/color.ts";
import { eventText, origin } from "../render/event.ts";
import { shortHash } from "../render/hash.ts";
import { count } from "../render/size.ts";
import { ago } from "../render/time.ts";
import { allBranches } from "./branch-pages.ts";
import { graphBlocks } from "./log-graph.ts";
import { logPages, type Wanted } from "./log-pages.ts";

interface LogOptions extends ReadOptions {
  readonly limit: string;
  readonly after?: string;
  readonly all?: true;
  readonly graph?: true;
  readonly session?: string;
  readonly turn?: string;
}

export const defineLog: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("-n, --limit <number>", "how many", "20")
    .option("--after <ref>", "only what is older than this commit")
    .option("--at <ref>", "begin at this commit, branch, turn or time")
    .option("--branch <name>", "the branch, default main")
    .option("--all", "all branches")
    .option("--graph", "draw how branches part and come together")
    .option("--session <id>", "only commits of this session")
    .option("--turn <id>", "only commits of this turn")
    .action(
      act(async (context, name: string, options: LogOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const wanted = wantedOf(options);
        const client = await context.client();
        if (options.graph === true && !context.json) {
          if (wanted.session !== undefined || wanted.turn !== undefined) {
            throw new UsageError("a graph has all commits", "drop --graph, or --session and --turn");
          }
          const branches = await allBranches(client, agent);
          const later = graphBlocks(branches, logPages(client, agent, wanted), (next) => more(agent, options, next));
          return { json: {}, people: () => [], later };
        }
        const items: CommitItem[] = [];
        let next: Hash | null = null;
        for await (const page of logPages(client, agent, wanted)) {
          for (const item of page.items) items.push(item);
          ({ next } = page);
        }
        return {
          json: { items, next },
          people: () => [
            {
              columns: [
                { head: "state" },
                { head: "time" },
                { head: "event" },
                { head: "changed", right: true },
                { head: "session/turn" },
              ],
              rows: items.map((item) => [
                shortHash(item.hash),
                ago(item.time),
                eventText(item),
                item.changed === 0 ? "" : count(item.changed),
                origin(item),
              ]),
            },
            ...more(agent, options, next),
          ],
        };
      }),
    );
};

function wantedOf(options: LogOptions): Wanted {
  const { at, branch } = readFieldsOf(options);
  const from = at ?? branch;
  if (options.all === true && from !== undefined) {
    throw new UsageError("--all begins at every branch", "drop --all, or --at and --branch");
  }
  const { session, turn } = options;
  return {
    start: { ...(options.all === true ? { all: true } : {}), ...(from === undefined ? {} : { from }) },
    limit: countArgument(options.limit),
    ...(options.after === undefined ? {} : { after: refArgument(options.after) }),
    ...(session === undefined ? {} : { session }),
    ...(turn === undefined ? {} : { turn }),
  };
}

function more(agent: AgentName, options: LogOptions, next: Hash | null): Block[] {
  if (next === null) return [];
  const { at, branch, all, graph, session, turn } = options;
  const given = [
    ...(at === undefined ? [] : ["--at", refArgument(at)]),
    ...(branch === undefined ? [] : ["--branch", branch]),
    ...(all === true ? ["--all"] : []),
    ...(graph === true ? ["--graph"] : []),
    ...(session === undefined ? [] : ["--session", session]),
    ...(turn === undefined ? [] : ["--turn", turn]),
  ];
  return [dim(`more: vlinder log ${[agent, ...given, "--after", next.slice(0, 12)].join(" ")}`)];
}
