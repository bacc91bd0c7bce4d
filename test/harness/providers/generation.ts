import { createHash } from "node:crypto";

/** A message as every protocol has it, once its own form is taken off. */
export interface Turn {
  readonly role: "system" | "user" | "assistant" | "tool";
  /** Text parts joined; a tool's result. */
  readonly text: string;
}

/** What a model is asked. */
export interface Asked {
  readonly model: string;
  readonly turns: readonly Turn[];
  /** The names of the tools that may be called. */
  readonly tools: readonly string[];
  /** Whether one of them has to be. */
  readonly toolRequired: boolean;
  /** In tokens; null: no limit. */
  readonly limit: number | null;
}

export interface ToolCall {
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
}

/** The model: a pure function. */
export type Answer = (asked: Asked) => string | readonly ToolCall[];

/** What the model gave, in the pieces in which it is streamed. */
export interface Generated {
  /** Empty when tools are called. */
  readonly pieces: readonly string[];
  readonly calls: readonly ToolCall[];
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Whether the limit ended it. */
  readonly cut: boolean;
}

/**
 * Text in tokens, by the rule of all servers here: a token is a run of characters that aren't white
 * space together with the white space before it; what trails is one more.
 */
export function tokens(text: string): string[] {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

/**
 * The model of a test that gives none: `echo: ` and the last message. A user's `call NAME {…}` calls the
 * tool of this name with this input, when the request has it; a tool's result is answered with `NAME`'s
 * text as `result: …`.
 */
export const echo: Answer = ({ turns, tools, toolRequired }) => {
  const last = turns.at(-1);
  const text = last?.text ?? "";
  if (last?.role === "tool") return `result: ${text}`;
  const [, name = "", input = ""] = /^call (\w+) (\{.*\})$/s.exec(text) ?? [];
  if (tools.includes(name)) return [{ name, input: JSON.parse(input) as Record<string, unknown> }];
  if (toolRequired) return [{ name: tools[0] ?? "", input: {} }];
  return `echo: ${text}`;
};

/** Asks the model and counts. @throws when the answer calls a tool that the request doesn't have */
export function generate(answer: Answer, asked: Asked): Generated {
  const given = answer(asked);
  const promptTokens = asked.turns.reduce((sum, { text }) => sum + tokens(text).length, 0);
  if (typeof given === "string") {
    if (asked.toolRequired) throw new Error("the request wants a tool called, and the test's answer is text");
    const all = tokens(given);
    const pieces = all.slice(0, asked.limit ?? all.length);
    const cut = pieces.length < all.length;
    return { pieces, calls: [], promptTokens, completionTokens: pieces.length, cut };
  }
  const stray = given.find(({ name }) => !asked.tools.includes(name));
  if (stray !== undefined) throw new Error(`the test's answer calls ${stray.name}, which the request does not have`);
  const completionTokens = given.reduce((sum, call) => sum + tokens(JSON.stringify(call.input)).length, 0);
  return { pieces: [], calls: given, promptTokens, completionTokens, cut: false };
}

/** An id that the same request always gets. */
export function idOf(prefix: string, seed: string, length = 24): string {
  return prefix + createHash("sha256").update(`${prefix}${seed}`).digest("hex").slice(0, length);
}

/** Text cut in two, so that what arrives in pieces has more than one: a tool's arguments. */
export function halves(text: string): [string, string] {
  const middle = Math.ceil(text.length / 2);
  return [text.slice(0, middle), text.slice(middle)];
}

/**
 * A unit vector that depends on all of the text and nothing else: SHA-256 of the text and a counter, read as
 * 32-bit integers. Its numbers are exact in 32-bit floats, so that base64 and JSON say the same.
 */
export function unitVector(text: string, dimension: number): number[] {
  const raw: number[] = [];
  for (let block = 0; raw.length < dimension; block++) {
    const hash = createHash("sha256").update(`${block}\n${text}`).digest();
    for (let at = 0; at < hash.length; at += 4) raw.push(hash.readInt32LE(at) / 2 ** 31);
  }
  const vector = raw.slice(0, dimension);
  const length = Math.hypot(...vector);
  return vector.map((one) => Math.fround(one / length));
}
