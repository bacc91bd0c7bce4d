import { randomUUID } from "node:crypto";
import {
  type AgentName,
  type Hash,
  isHash,
  LIMITS,
  type ListReply,
  type PutReply,
  VlinderError,
} from "@vlinder/protocol";
import type { Client, Content } from "@vlinder/agent-runtime";
import {
  agentArgument,
  branchFieldOf,
  countArgument,
  hashArgument,
  keyArgument,
  prefixArgument,
  type ReadOptions,
  readFieldsOf,
} from "../arguments.ts";
import type { Act, Define } from "../catalogue.ts";
import { contentOf } from "../content.ts";
import type { Context } from "../context.ts";
import type { Outcome } from "../outcome.ts";
import { collect } from "../pages.ts";
import { dim, green, red } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { owedLines } from "../render/owed.ts";
import { size } from "../render/size.ts";
import { ago } from "../render/time.ts";
import { defineBlame } from "./kv-blame.ts";
import { defineGet } from "./kv-get.ts";
import { AT, BRANCH, EXPECT } from "./kv-options.ts";
import { defineWatch } from "./kv-watch.ts";

interface WriteOptions {
  readonly branch?: string;
  readonly expect?: string;
}

export const defineKv: Define = (command, act) => {
  definePut(command.command("put"), act);
  defineGet(command.command("get"), act);
  defineList(command.command("list"), act);
  defineDelete(command.command("delete"), act);
  defineHistory(command.command("history"), act);
  defineBlame(command.command("blame"), act);
  defineWatch(command.command("watch"), act);
};

const definePut: Define = (command, act) => {
  command
    .description("write a value")
    .argument("<agent>")
    .argument("<key>")
    .argument("<value>", "the value, of any size; - reads standard input, @file a file")
    .option(...EXPECT)
    .option(...BRANCH)
    .action(
      act(async (context, name: string, keyText: string, text: string, options: WriteOptions): Promise<Outcome> => {
        const [agent, key, branch] = [agentArgument(name), keyArgument(keyText), branchFieldOf(options)];
        const expected = expectArgument(options);
        const value = await contentOf(context, text);
        const client = await context.client();
        const expect = await expectOf(client, agent, key, branch, expected);
        const { reply, bytes } = await putContent(context, agent, value, { key, ...expect, ...branch });
        return {
          json: reply,
          people: () => [
            [green("stored "), key, `   ${size(bytes)}   state `, shortHash(reply.state)],
            ...owedLines(reply.sync),
          ],
        };
      }),
    );
};

/** A large one goes in parts, and is put when it is there. */
async function putContent(
  context: Context,
  agent: AgentName,
  value: Content,
  fields: object,
): Promise<{ reply: PutReply; bytes: number }> {
  const client = await context.client();
  if (value instanceof Uint8Array && value.length <= LIMITS.valueBytes) {
    return { reply: await client.request(agent, "kv.put", { value, ...fields }), bytes: value.length };
  }
  const { Uploader } = await import("@vlinder/agent-runtime");
  const uploader = new Uploader(client, agent);
  const sent = new Map([[value, await uploader.send(value, { onProgress: context.progress })]]);
  // One id for all tries: what was stored is not stored again.
  const id = randomUUID();
  const reply = await uploader.commit(sent, (uploads) =>
    client.request(agent, "kv.put", { upload: uploads.get(value)?.upload, ...fields, id }),
  );
  return { reply, bytes: sent.get(value)?.size ?? 0 };
}

const defineList: Define = (command, act) => {
  command
    .description("keys, in order")
    .argument("<agent>")
    .argument("[prefix]", "only keys that begin so")
    .option("-n, --limit <number>", "at most so many, default all")
    .option(...AT)
    .option(...BRANCH)
    .action(listAction(act, "kv.list", "key"));
};

/** `kv list` and `vector list` are alike. */
export function listAction(act: Act, operation: "kv.list" | "vector.list", noun: string) {
  return act(
    async (
      context,
      name: string,
      prefixText: string | undefined,
      options: ReadOptions & { readonly limit?: string },
    ): Promise<Outcome> => {
      const [agent, fields] = [agentArgument(name), readFieldsOf(options)];
      const prefix = prefixText === undefined ? {} : { prefix: prefixArgument(prefixText) };
      const wanted = options.limit === undefined ? null : countArgument(options.limit);
      const client = await context.client();
      const { first, items, next } = await collect(wanted, (after, limit, page: ListReply | null) =>
        client.request(agent, operation, {
          ...prefix,
          after,
          limit,
          // One state, however many pages it takes.
          ...(page === null ? fields : { at: page.state }),
        }),
      );
      return {
        json: { items, next, state: first.state },
        people: () => [
          {
            columns: [{ head: noun }, { head: "size", right: true }, { head: "hash" }],
            rows: items.map((item) => [item.key, size(item.size), dim(short(item.hash))]),
          },
          ...(items.length === 0 ? [dim(`no ${noun} at ${short(first.state)}`)] : []),
          ...(next === null ? [] : [dim("more: give a larger --limit, or none")]),
        ],
      };
    },
  );
}

const defineDelete: Define = (command, act) => {
  command
    .description("delete a key; history keeps its values")
    .argument("<agent>")
    .argument("<key>")
    .option(...EXPECT)
    .option(...BRANCH)
    .action(
      act(async (context, name: string, keyText: string, options: WriteOptions): Promise<Outcome> => {
        const [agent, key, branch] = [agentArgument(name), keyArgument(keyText), branchFieldOf(options)];
        const expected = expectArgument(options);
        const client = await context.client();
        const expect = await expectOf(client, agent, key, branch, expected);
        const reply = await client.request(agent, "kv.delete", { key, ...expect, ...branch });
        return {
          json: reply,
          failed: !reply.deleted,
          people: () => [
            reply.deleted
              ? [red("deleted "), key, "   state ", shortHash(reply.state)]
              : ["nothing to delete: there is no ", key, " at ", shortHash(reply.state)],
            ...owedLines(reply.sync),
          ],
        };
      }),
    );
};

const defineHistory: Define = (command, act) => {
  command
    .description("the values that a key had, newest first")
    .argument("<agent>")
    .argument("<key>")
    .option("-n, --limit <number>", "at most so many", "50")
    .option(...AT)
    .option(...BRANCH)
    .action(
      act(
        async (
          context,
          name: string,
          keyText: string,
          options: ReadOptions & { readonly limit: string },
        ): Promise<Outcome> => {
          const [agent, key, fields] = [agentArgument(name), keyArgument(keyText), readFieldsOf(options)];
          const wanted = countArgument(options.limit);
          const client = await context.client();
          const { first, items, next } = await collect(wanted, (after, limit) =>
            client.request(agent, "kv.history", { key, after, limit, ...fields }),
          );
          return {
            json: { items, next, state: first.state },
            people: () => [
              {
                columns: [
                  { head: "state" },
                  { head: "time" },
                  { head: "event" },
                  { head: "size", right: true },
                  { head: "value" },
                ],
                rows: items.map((item) => [
                  shortHash(item.state),
                  ago(item.time),
                  item.event,
                  item.hash === null ? "" : size(item.size),
                  item.hash === null ? red("deleted") : dim(short(item.hash)),
                ]),
              },
              ...(items.length === 0 ? [dim(`${key} never had a value`)] : []),
              ...(next === null ? [] : [dim("more: give a larger --limit")]),
            ],
          };
        },
      ),
    );
};

function expectArgument({ expect }: WriteOptions): string | null | undefined {
  if (expect === undefined) return undefined;
  return expect === "none" ? null : hashArgument(expect);
}

/** The `expect` of a write. People type the first digits; the whole hash is what the key has now. */
async function expectOf(
  client: Client,
  agent: AgentName,
  key: string,
  branch: object,
  expected: string | null | undefined,
): Promise<{ expect?: Hash | null }> {
  if (expected === undefined) return {};
  if (expected === null || isHash(expected)) return { expect: expected };
  // In key order a key comes before all that it begins.
  const { items } = await client.request(agent, "kv.list", { prefix: key, limit: 1, ...branch });
  const current = items[0]?.key === key ? items[0].hash : null;
  if (current?.startsWith(expected) === true) return { expect: current };
  throw new VlinderError("conflict", `${key} ${current === null ? "does not exist" : `has ${short(current)}`}`, {
    details: { key, expected, actual: current },
    remedy: `look at it: vlinder kv get ${agent} ${key}`,
  });
}
