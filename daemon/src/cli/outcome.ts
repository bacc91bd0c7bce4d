import { encodeBody } from "@vlinder/protocol";
import { paint } from "./render/color.ts";
import { type Table, tableLines } from "./render/table.ts";
import { safeJson, type Text } from "./render/text.ts";

/** A line or a table. */
export type Block = Text | Table;

/** What a command found out: a command computes it, and one place prints it. */
export interface Outcome {
  /** The one document of `--json`. */
  readonly json: object;
  /** For people; bytes go out as they are, also as they come. */
  readonly people: () => readonly Block[] | Uint8Array | AsyncIterable<Uint8Array>;
  /** The thing asked is false, or part of it failed: exit code 1. */
  readonly failed?: boolean;
  /** For people, on standard error, after the rest: what is about the result, and not part of it. */
  readonly aside?: readonly Block[];
  /** What comes later, as it comes: lines for people, a document on a line of its own for `--json`. Then `json` is not printed. */
  readonly later?: AsyncIterable<{ readonly json: object; readonly people: readonly Block[] }>;
}

function isTable(block: Block): block is Table {
  return typeof block === "object" && "rows" in block;
}

export function renderBlocks(blocks: readonly Block[], color: boolean): string {
  const lines = blocks.flatMap((block) => (isTable(block) ? tableLines(block) : [block]));
  return lines.map((line) => `${paint(line, color).trimEnd()}\n`).join("");
}

/** A document as one line; bytes that are not text become base64, as on the wire. */
export function renderJson(document: object): string {
  return `${safeJson(Buffer.from(encodeBody(document, "json")).toString("utf8"))}\n`;
}
