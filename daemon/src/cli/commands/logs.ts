import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@vlinder/agent-runtime";
import { type AgentName, asVlinderError, type LogItem, type LogsReply } from "@vlinder/protocol";
import { agentArgument, countArgument } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, red, yellow } from "../render/color.ts";
import type { Text } from "../render/text.ts";

/** How long the daemon may hold a question whose answer has no lines yet, in milliseconds. */
const HOLD = 10_000;
/** Between two tries while the daemon is away. */
const RETRY = 500;
/** After an answer without lines: a daemon that stops holds no question. */
const BREATH = 100;

interface LogsOptions {
  readonly lines: string;
  readonly follow?: boolean;
}

export const defineLogs: Define = (command, act) => {
  command
    .argument("<agent>")
    .option("-n, --lines <number>", "how many of the last lines", "100")
    .option("-f, --follow", "go on with what comes, until Ctrl-C")
    .action(
      act(async (context, name: string, options: LogsOptions): Promise<Outcome> => {
        const agent = agentArgument(name);
        const wanted = countArgument(options.lines, 1_000_000);
        const client = await context.client();
        const { items, position } = await lastLines(client, agent, wanted);
        if (options.follow !== true) return { json: { items, position }, people: () => items.map(lineOf) };
        return { json: {}, people: () => [], later: follow(client, agent, items, position) };
      }),
    );
};

async function lastLines(
  client: Client,
  agent: AgentName,
  wanted: number,
): Promise<{ readonly items: readonly LogItem[]; readonly position: string }> {
  let page: LogsReply = await client.admin("agents.logs", { agent, lines: wanted });
  const items = [...page.items];
  // The log grows meanwhile: the first page has said where the last `wanted` lines begin.
  while (page.more && items.length < wanted) {
    page = await client.admin("agents.logs", { agent, lines: wanted - items.length, after: page.position });
    for (const item of page.items) items.push(item);
  }
  return { items, position: page.position };
}

async function* follow(
  client: Client,
  agent: AgentName,
  first: readonly LogItem[],
  from: string,
): AsyncGenerator<{ readonly json: object; readonly people: readonly Block[] }> {
  for (const item of first) yield shown(item);
  for (let after = from; ;) {
    const page = await pageOrNull(client, agent, after);
    if (page === null) {
      await sleep(RETRY);
      continue;
    }
    if (page.missed) yield { json: { missed: true }, people: [yellow("lines are missing here: the log was rotated")] };
    for (const item of page.items) yield shown(item);
    after = page.position;
    if (page.items.length === 0) await sleep(BREATH);
  }
}

/** Null while the daemon is away: it comes back, and the log goes on where it was. */
async function pageOrNull(client: Client, agent: AgentName, after: string): Promise<LogsReply | null> {
  try {
    return await client.admin("agents.logs", { agent, after, lines: 1000, wait: HOLD });
  } catch (thrown) {
    if (!asVlinderError(thrown).retryable) throw thrown;
    return null;
  }
}

function shown(item: LogItem): { readonly json: object; readonly people: readonly Block[] } {
  return { json: item, people: [lineOf(item)] };
}

function lineOf({ time, stream, text }: LogItem): Text {
  const tinted = stream === "stdout" ? text : stream === "stderr" ? red(text) : yellow(`vlinderd: ${text}`);
  return [dim(`${time ?? ""}  `), tinted];
}
