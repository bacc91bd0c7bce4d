import { readFile, stat } from "node:fs/promises";
import { LIMITS, VlinderError } from "@vlinder/protocol";
import type { Context } from "./context.ts";
import { UsageError } from "./failure.ts";

/**
 * The bytes that an argument means: `-` is standard input, `@file` a file, anything else itself.
 * Nothing larger than a value may be is read whole. @throws too_large, not_found, UsageError
 */
export async function contentOf(context: Context, argument: string): Promise<Uint8Array> {
  if (argument === "-") return await readInput(context);
  if (argument.startsWith("@")) return await readNamed(argument.slice(1));
  return Buffer.from(argument, "utf8");
}

async function readInput({ terminal }: Context): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of terminal.stdin) {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, "utf8") : chunk;
    chunks.push(bytes);
    length += bytes.length;
    if (length > LIMITS.valueBytes) throw tooLarge("standard input", length);
  }
  return Buffer.concat(chunks);
}

async function readNamed(path: string): Promise<Uint8Array> {
  if (path === "")
    throw new UsageError("@ names no file", "write @ and the file's path; for a value with @ pipe it in: -");
  try {
    const { size } = await stat(path);
    if (size > LIMITS.valueBytes) throw tooLarge(path, size);
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof VlinderError) throw cause;
    throw new UsageError(
      `the file ${path} can't be read: ${(cause as Error).message}`,
      "correct the path; for a value that begins with @ pipe it in: -",
      cause,
    );
  }
}

function tooLarge(what: string, size: number): VlinderError {
  return new VlinderError("too_large", `${what} is larger than ${LIMITS.valueBytes} bytes`, {
    details: { limit: LIMITS.valueBytes, size },
    remedy: "store it as several keys; larger values come with streaming",
  });
}
