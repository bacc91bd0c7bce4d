import type { AgentName, EffectItem } from "@vlinder/protocol";
import type { Command } from "commander";
import { agentArgument, countArgument } from "../arguments.ts";
import type { Act, Define } from "../catalogue.ts";
import { smallContentOf } from "../content.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { bold, dim, green, red, yellow } from "../render/color.ts";
import { shortHash } from "../render/hash.ts";
import { size } from "../render/size.ts";
import type { Span } from "../render/text.ts";
import { ago } from "../render/time.ts";

interface ListOptions {
  readonly unknown?: boolean;
  readonly turn?: string;
  readonly limit: string;
}

interface ResolveOptions {
  readonly done?: boolean;
  readonly notDone?: boolean;
  readonly result?: string;
}

export const defineEffect: Define = (command, act) => {
  defineList(command, act);
  defineResolve(command, act);
};

function defineList(command: Command, act: Act): void {
  command
    .command("list")
    .description("what an agent did, or may have done, in the outside world; newest first")
    .argument("<agent>")
    .option("--unknown", "only those of which nobody knows whether they happened")
    .option("--turn <id>", "only those that this turn began")
    .option("-n, --limit <number>", "how many", "20")
    .action(
      act(async (context, name: string, { unknown, turn, limit: most }: ListOptions): Promise<Outcome> => {
        const [agent, wanted] = [agentArgument(name), countArgument(most)];
        const client = await context.client();
        const status = unknown === true ? "unknown" : undefined;
        const { items, next } = await collect(wanted, (after, limit) =>
          client.request(agent, "effect.list", { turn, status, after, limit }),
        );
        return { json: { items, next }, people: () => listBlocks(agent, items, next !== null) };
      }),
    );
}

function listBlocks(agent: AgentName, items: readonly EffectItem[], more: boolean): Block[] {
  if (items.length === 0) return ["no effects"];
  const isUnknown = items.some(({ status }) => status === "unknown");
  return [
    {
      columns: [
        { head: "effect" },
        { head: "key" },
        { head: "status" },
        { head: "time" },
        { head: "turn" },
        { head: "commit" },
        { head: "" },
      ],
      rows: items.map((item) => [
        item.effect,
        item.key,
        statusText(item.status),
        ago(item.time),
        item.turn,
        shortHash(item.commit),
        about(item),
      ]),
    },
    ...(more ? [dim("there are more: --limit")] : []),
    ...(isUnknown
      ? [
          "of what is unknown a person has to say whether it happened:",
          ["  ", bold(`vlinder effect resolve ${agent} EFFECT --done [--result JSON] | --not-done`)],
        ]
      : []),
  ];
}

function statusText(status: EffectItem["status"]): string | Span {
  if (status === "done") return green(status);
  if (status === "unknown") return red(status);
  return status === "running" ? yellow(status) : status.replace("_", " ");
}

function about({ result, lost, error, by, attempts }: EffectItem): string {
  const parts = [
    result === null ? "" : size(result.size),
    lost === null ? "" : `result lost: ${lost}`,
    error ?? "",
    by === "person" ? "as a person said" : "",
    attempts > 1 ? `begun ${attempts} times` : "",
  ];
  return parts.filter((part) => part !== "").join(", ");
}

function defineResolve(command: Command, act: Act): void {
  command
    .command("resolve")
    .description("say whether an effect happened of which nobody knows; it is recorded as your word")
    .argument("<agent>")
    .argument("<effect>", "its id, or the beginning of it")
    .option("--done", "it happened: turns that retry get the result, and do not run it again")
    .option("--not-done", "it did not happen: turns that retry run it again")
    .option("--result <json>", "what it gave, as JSON; @file, or - for standard input")
    .action(
      act(async (context, name: string, effect: string, options: ResolveOptions): Promise<Outcome> => {
        const { done = false, notDone = false, result } = options;
        const agent = agentArgument(name);
        if (!/^e-[0-9a-f]{4,24}$/.test(effect)) {
          throw new UsageError(
            `not an effect: ${JSON.stringify(effect.slice(0, 80))}`,
            "vlinder effect list shows them",
          );
        }
        if (done === notDone) throw new UsageError("say whether it happened", "either --done or --not-done");
        if (notDone && result !== undefined) {
          throw new UsageError("what was not done has no result", "drop --result, or say --done");
        }
        const body = {
          effect,
          status: done ? "done" : "not_done",
          ...(result === undefined ? {} : { result: await smallContentOf(context, result) }),
        };
        const reply = await (await context.client()).request(agent, "effect.resolve", body);
        const said = done ? green("done") : yellow("not done");
        return {
          json: reply,
          people: () => [
            reply.branch === null
              ? [reply.effect, " ", reply.key, ": ", said, dim(" was said before")]
              : [reply.effect, " ", reply.key, ": ", said, "   state ", shortHash(reply.state), ` on ${reply.branch}`],
          ],
        };
      }),
    );
}
