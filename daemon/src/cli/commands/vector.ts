import type { SearchReply } from "@vlinder/protocol";
import {
  agentArgument,
  countArgument,
  jsonArgument,
  prefixArgument,
  type ReadOptions,
  readFieldsOf,
} from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import { smallContentOf } from "../content.ts";
import type { Context } from "../context.ts";
import { embeddingOf } from "../embedding.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { counted } from "../render/size.ts";
import { listAction } from "./kv.ts";

interface SearchOptions extends ReadOptions {
  readonly vector?: string;
  readonly text?: string;
  readonly limit: string;
  readonly prefix?: string;
  readonly filter?: string;
}

/** As many as the protocol gives in one reply. */
const MOST = 1000;
const METADATA_CHARS = 100;

export const defineVector: Define = (command, act) => {
  command
    .command("search")
    .description("the nearest vectors, also of the past")
    .argument("<agent>")
    .option("--vector <json>", "what to search for, a JSON array; - reads standard input, @file a file")
    .option("--text <text>", "what to search for, as the agent's declared embedding model has it")
    .option("-n, --limit <number>", "how many", "10")
    .option("--prefix <prefix>", "only keys that begin so")
    .option("--filter <json>", 'on metadata, like {"lang": "en", "year": {"gte": 2020}}')
    .option("--at <ref>", "as it was at this commit, branch or time")
    .option("--branch <name>", "the branch, default main")
    .action(
      act(async (context, name: string, options: SearchOptions): Promise<Outcome> => {
        const [agent, fields] = [agentArgument(name), readFieldsOf(options)];
        const limit = countArgument(options.limit, MOST);
        if ((options.vector === undefined) === (options.text === undefined)) {
          throw new UsageError("one thing to search for", "give --text 'some words' or --vector '[0.1, 0.2]'");
        }
        const filter = options.filter === undefined ? {} : { filter: jsonArgument(options.filter, "--filter") };
        const prefix = options.prefix === undefined ? {} : { prefix: prefixArgument(options.prefix) };
        const vector =
          options.text === undefined
            ? await vectorArgument(context, options.vector ?? "")
            : await embeddingOf(context, agent, options.text);
        const request = { vector, limit, ...prefix, ...filter, ...fields };
        const reply = await (await context.client()).request(agent, "vector.search", request);
        return { json: reply, people: () => searchBlocks(reply) };
      }),
    );
  command
    .command("list")
    .description("keys of vectors, in order")
    .argument("<agent>")
    .argument("[prefix]", "only keys that begin so")
    .option("-n, --limit <number>", "at most so many, default all")
    .option("--at <ref>", "as it was at this commit, branch or time")
    .option("--branch <name>", "the branch, default main")
    .action(listAction(act, "vector.list", "vector"));
  command
    .command("reindex")
    .description("build the search index again from the records")
    .argument("<agent>")
    .action(
      act(async (context, name: string): Promise<Outcome> => {
        const agent = agentArgument(name);
        const client = await context.client();
        const reply = await client.request(agent, "vector.reindex", {}, { onProgress: context.progress });
        return { json: reply, people: () => [`indexed ${counted(reply.vectors, "vector")}`] };
      }),
    );
};

async function vectorArgument(context: Context, argument: string): Promise<number[]> {
  const text = Buffer.from(await smallContentOf(context, argument)).toString("utf8");
  const vector = jsonArgument(text, "--vector");
  if (Array.isArray(vector) && vector.every((one) => typeof one === "number")) return vector;
  throw new UsageError("--vector is no JSON array of numbers", "like '[0.1, 0.2]'");
}

function searchBlocks({ items, state }: SearchReply): Block[] {
  if (items.length === 0) return [dim(`no vector at ${short(state)}`)];
  return [
    {
      columns: [{ head: "score", right: true }, { head: "key" }, { head: "metadata" }],
      rows: items.map(({ score, key, metadata }) => [score.toFixed(4), key, dim(briefly(metadata))]),
    },
  ];
}

function briefly(metadata: object): string {
  const text = JSON.stringify(metadata);
  if (text === "{}") return "";
  return text.length <= METADATA_CHARS ? text : `${text.slice(0, METADATA_CHARS)}…`;
}
