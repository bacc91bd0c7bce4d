/** How a piece of text stands out on a terminal. */
export type Tint = "bold" | "dim" | "red" | "green" | "yellow";

export interface Span {
  readonly text: string;
  readonly tint: Tint;
}

/** A line, or a cell of a table. It is made safe to show when it is rendered, and only there. */
export type Text = string | Span | readonly (string | Span)[];

/**
 * Characters that make a terminal do or show something else than text: control characters (escape
 * sequences begin with them), line and paragraph separators, and the marks that reorder or hide text.
 */
const UNSAFE = /[\p{Cc}\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/gu;

const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Text from anywhere (keys, names, messages, values) as one line that a terminal only shows: what
 * would steer it is written out, like \x1b.
 */
export function plain(text: string): string {
  return text.toWellFormed().replace(UNSAFE, (one) => NAMED[one] ?? written(one));
}

/** The same for text of several lines: lines stay lines, and a tab is space. */
export function shownText(text: string): string {
  return text
    .replaceAll("\r\n", "\n")
    .split("\n")
    .map((line) => line.split("\t").map(plain).join("    "))
    .join("\n");
}

function written(one: string): string {
  const code = one.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** JSON with the same meaning whose text steers no terminal. */
export function safeJson(json: string): string {
  return json.replace(UNSAFE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function spansOf(text: Text): readonly (string | Span)[] {
  return Array.isArray(text) ? text : [text as string | Span];
}

/** What it says, without tints, made safe. */
export function plainText(text: Text): string {
  return spansOf(text)
    .map((span) => plain(typeof span === "string" ? span : span.text))
    .join("");
}

const ASCII = /^[\x20-\x7e]*$/;
const WIDE =
  /^[\p{Emoji_Presentation}\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\u3000-\u303f\uff01-\uff60]/u;

/** Columns that a text takes on a terminal. */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const one of text) if (!/^\p{M}/u.test(one)) width += WIDE.test(one) ? 2 : 1;
  return width;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of bytes; null when they are not UTF-8, or hold NUL as binary files do. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    const text = utf8.decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    // Not text, which is the answer.
    return null;
  }
}
