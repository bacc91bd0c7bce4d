/** Levels that are indented: text that nests deeper is no easier to read for it, and would grow with the square of its depth. */
const MOST_DEPTH = 16;

/** JSON with a line for each member and item, its numbers and strings as they are written; null: the text is none. */
export function indentedJson(text: string): string | null {
  try {
    JSON.parse(text);
  } catch {
    // It is other text, which is the answer.
    return null;
  }
  let out = "";
  let depth = 0;
  /** A container was opened, and nothing of it came yet. */
  let opened = false;
  const line = (): string => `\n${"  ".repeat(Math.min(depth, MOST_DEPTH))}`;
  for (let at = 0; at < text.length;) {
    const one = text[at] as string;
    const end = one === '"' ? stringEnd(text, at) : at + 1;
    const token = text.slice(at, end);
    at = end;
    if (/\s/.test(one)) continue;
    if (one === "}" || one === "]") {
      depth--;
      out += opened ? token : `${line()}${token}`;
      opened = false;
      continue;
    }
    if (opened) out += line();
    opened = one === "{" || one === "[";
    if (opened) depth++;
    if (one === ",") out += `,${line()}`;
    else out += one === ":" ? ": " : token;
  }
  return out;
}

/** Behind the string that begins here. */
function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}
