import { constants, createReadStream } from "node:fs";
import { access, readFile, stat } from "node:fs/promises";
import type { Content } from "@vlinder/agent-runtime";
import { LIMITS, VlinderError } from "@vlinder/protocol";
import type { Context } from "./context.ts";
import { UsageError } from "./failure.ts";

/**
 * What an argument means: `-` is standard input, `@file` a file, anything else itself. What is larger than
 * one message holds is not read yet. @throws UsageError
 */
export async function contentOf(context: Context, argument: string): Promise<Content> {
  if (argument === "-") return await startOf(context.terminal.stdin);
  if (argument.startsWith("@")) return await named(argument.slice(1));
  return Buffer.from(argument, "utf8");
}

/** The same, read whole; nothing is larger than one message. @throws too_large, UsageError */
export async function smallContentOf(context: Context, argument: string): Promise<Uint8Array> {
  const content = await contentOf(context, argument);
  if (content instanceof Uint8Array && content.length <= LIMITS.valueBytes) return content;
  throw new VlinderError("too_large", `${argument} is larger than ${LIMITS.valueBytes} bytes`, {
    details: { limit: LIMITS.valueBytes },
  });
}

/** The bytes, when they are few; else the stream, from its start. */
async function startOf(stream: AsyncIterable<Uint8Array | string>): Promise<Content> {
  const pieces = stream[Symbol.asyncIterator]();
  const chunks: Uint8Array[] = [];
  for (let length = 0; length <= LIMITS.valueBytes;) {
    const next = await pieces.next();
    if (next.done === true) return Buffer.concat(chunks);
    const bytes = bytesOf(next.value);
    chunks.push(bytes);
    length += bytes.length;
  }
  return (async function* () {
    yield* chunks.splice(0);
    for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) yield bytesOf(next.value);
  })();
}

function bytesOf(chunk: Uint8Array | string): Uint8Array {
  return typeof chunk === "string" ? Buffer.from(chunk, "utf8") : chunk;
}

async function named(path: string): Promise<Content> {
  if (path === "")
    throw new UsageError("@ names no file", "write @ and the file's path; for a value with @ pipe it in: -");
  try {
    const status = await stat(path);
    await access(path, constants.R_OK);
    const stream = (): AsyncIterable<Uint8Array> => createReadStream(path, { highWaterMark: LIMITS.valueBytes });
    // A pipe has no size and is read once.
    if (!status.isFile() && !status.isDirectory()) return await startOf(stream());
    return status.size > LIMITS.valueBytes ? { size: status.size, stream } : await readFile(path);
  } catch (cause) {
    throw new UsageError(
      `the file ${path} can't be read: ${(cause as Error).message}`,
      "correct the path; for a value that begins with @ pipe it in: -",
      cause,
    );
  }
}
