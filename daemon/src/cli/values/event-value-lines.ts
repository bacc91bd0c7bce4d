import type { Block } from "../outcome.ts";
import { bold, dim } from "../render/color.ts";
import { short } from "../render/hash.ts";
import { counted, size } from "../render/size.ts";
import { shownText, type Text, textOf } from "../render/text.ts";
import { type EventValue, MOST_BYTES } from "./event-values.ts";
import { indentedJson } from "./indented-json.ts";

/** Lines that are shown of one value, and characters of one line. */
const MOST_LINES = 200;
const MOST_CHARACTERS = 400;
const INDENT = "     ";

/** What a person sees of the values of a commit's event: each with its name, JSON indented, other text as it is. */
export function eventValueBlocks(values: ReadonlyMap<string, EventValue>): Block[] {
  return [...values].flatMap(([name, one]): Block[] => [
    [bold(name), dim(`   ${size(one.size)}, sha-256 ${short(one.hash)}`)],
    ...linesOf(one).map((line): Text => [INDENT, ...[line].flat()]),
  ]);
}

function linesOf({ value, why = "" }: EventValue): Text[] {
  if (value === null) return [dim(`left out: ${reason(why)}`)];
  if (value.length === 0) return [dim("empty")];
  const text = textOf(value);
  if (text === null) return [dim("not text; --json has it as base64")];
  const lines = shownText(indentedJson(text) ?? text).split("\n");
  if (lines.at(-1) === "") lines.pop();
  const rest = lines.length - MOST_LINES;
  const shown = lines.slice(0, MOST_LINES).map(cut);
  return rest <= 0 ? shown : [...shown, dim(`… ${counted(rest, "line")} more; --json has all`)];
}

function reason(why: string): string {
  if (why === "too-large") return `over ${size(MOST_BYTES)}`;
  return why === "enough" ? "others before it are 8 MB" : why;
}

function cut(line: string): Text {
  if (line.length <= MOST_CHARACTERS) return line;
  return [line.slice(0, MOST_CHARACTERS), dim(`… ${line.length - MOST_CHARACTERS} more`)];
}
