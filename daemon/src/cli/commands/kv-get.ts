import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import type { ByteRange, StoredValue } from "@vlinder/agent-runtime";
import { type Hash, LIMITS, VlinderError } from "@vlinder/protocol";
import { agentArgument, keyArgument, type ReadOptions, readFieldsOf } from "../arguments.ts";
import type { Define } from "../catalogue.ts";
import type { Context } from "../context.ts";
import { UsageError } from "../failure.ts";
import type { Block, Outcome } from "../outcome.ts";
import { dim, green } from "../render/color.ts";
import { short, shortHash } from "../render/hash.ts";
import { size } from "../render/size.ts";
import { shownText, textOf } from "../render/text.ts";
import { AT, BRANCH } from "./kv-options.ts";

interface GetOptions extends ReadOptions {
  readonly range?: string;
  readonly out?: string;
}

export const defineGet: Define = (command, act) => {
  command
    .description("print a value, byte for byte")
    .argument("<agent>")
    .argument("<key>")
    .option("--range <start:end>", "only the bytes from start to before end; 100: and :100 work, too")
    .option("-o, --out <file>", "write it to a file")
    .option(...AT)
    .option(...BRANCH)
    .action(
      act(async (context, name: string, keyText: string, options: GetOptions): Promise<Outcome> => {
        const [agent, key, fields] = [agentArgument(name), keyArgument(keyText), readFieldsOf(options)];
        const asked = options.range === undefined ? null : rangeArgument(options.range);
        const client = await context.client();
        const { StoredValue } = await import("@vlinder/agent-runtime");
        const value = await StoredValue.open(({ at, ...part }) =>
          client.request(agent, "value.get", { key, ...part, ...(at === undefined ? fields : { at }) }),
        );
        if (value === null) throw missing(key);
        const range = asked === null ? { start: 0, end: value.size } : inside(value, asked);
        const { hash, state } = value;
        const about = { hash, size: value.size, state };
        const length = range.end - range.start;
        if (options.out !== undefined) {
          const { out } = options;
          await writeTo(out, shown(context, value, range));
          return {
            json: { file: out, length, ...about },
            people: () => [[green("wrote "), out, `   ${size(length)}   state `, shortHash(state)]],
          };
        }
        const large = length > LIMITS.valueBytes;
        const terminal = context.terminal.stdout.isTTY === true;
        if (large && context.json) throw tooLarge(key, length);
        if (large && !terminal) return { json: about, people: () => shown(context, value, range) };
        const bytes = large ? null : await value.bytes(range);
        return {
          json: { value: bytes, ...about },
          people: () => (terminal || bytes === null ? shownValue(bytes, length, hash) : bytes),
        };
      }),
    );
};

/** The bytes, with a bar on a terminal. */
async function* shown(context: Context, value: StoredValue, range: Required<ByteRange>): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const part of value.stream(range)) {
    done += part.length;
    context.progress({ what: "reading", done, total: range.end - range.start, unit: "bytes" });
    yield part;
  }
  context.endProgress();
}

/** A file is there whole, or as it was before. */
async function writeTo(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const before = await stat(path).catch(() => null); // a new one
  const beside = before === null || before.isFile() ? `${path}.${process.pid}.part` : path;
  const file = createWriteStream(beside);
  try {
    await once(file, "open");
  } catch (cause) {
    throw new UsageError(`${path} can't be written: ${(cause as Error).message}`, "correct the path", cause);
  }
  try {
    await pipeline(bytes, file);
    if (beside !== path) await rename(beside, path);
  } catch (error) {
    if (beside !== path) await rm(beside, { force: true });
    throw error;
  }
}

/** A terminal gets text that only shows; programs behind a pipe get every byte as it is. */
function shownValue(value: Uint8Array | null, length: number, hash: Hash): Block[] {
  if (value === null) return [dim(`${size(length)}, sha-256 ${short(hash)}; to a file: -o FILE`)];
  const text = textOf(value);
  if (text === null) return [dim(`not text: ${size(length)}, sha-256 ${short(hash)}; to a file: -o FILE`)];
  const lines = shownText(text).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

function rangeArgument(text: string): ByteRange {
  const [, start = "", end = ""] = /^(\d{0,15}):(\d{0,15})$/.exec(text) ?? [];
  const range = { ...(start === "" ? {} : { start: Number(start) }), ...(end === "" ? {} : { end: Number(end) }) };
  if ((start !== "" || end !== "") && (range.start ?? 0) <= (range.end ?? Number.POSITIVE_INFINITY)) return range;
  throw new UsageError(
    `not a range: ${JSON.stringify(text.slice(0, 80))}`,
    "a range is START:END in bytes, like 0:100",
  );
}

/** What lies behind the end is cut off. @throws invalid */
function inside(value: StoredValue, { start = 0, end = value.size }: ByteRange): Required<ByteRange> {
  if (start <= value.size) return { start, end: Math.min(end, value.size) };
  throw new VlinderError("invalid", `the range begins at ${start}, and the value has ${value.size} bytes`, {
    details: { start, size: value.size },
    remedy: "begin within the value",
  });
}

function missing(key: string): VlinderError {
  return new VlinderError("not_found", `there is no key ${key}`, { details: { key } });
}

function tooLarge(key: string, length: number): VlinderError {
  return new VlinderError("too_large", `the ${length} bytes of ${key} are too many for one document`, {
    details: { key, size: length, limit: LIMITS.valueBytes },
    remedy: "write them to a file with -o FILE, or ask for some with --range",
  });
}
