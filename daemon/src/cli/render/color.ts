import { plain, type Span, spansOf, type Text, type Tint } from "./text.ts";

const CODES: Readonly<Record<Tint, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

export const bold = (text: string): Span => ({ text, tint: "bold" });
export const dim = (text: string): Span => ({ text, tint: "dim" });
export const red = (text: string): Span => ({ text, tint: "red" });
export const green = (text: string): Span => ({ text, tint: "green" });
export const yellow = (text: string): Span => ({ text, tint: "yellow" });

/** Whether to colour what goes there: only a terminal, and not against NO_COLOR (https://no-color.org). */
export function wantsColor(stream: { readonly isTTY?: boolean | undefined }, env: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
}

/** The characters to write for a text: made safe first, then tinted. */
export function paint(text: Text, color: boolean): string {
  return spansOf(text)
    .map((span) => {
      if (typeof span === "string") return plain(span);
      const safe = plain(span.text);
      if (!color || safe === "") return safe;
      const [on, off] = CODES[span.tint];
      return `\x1b[${on}m${safe}\x1b[${off}m`;
    })
    .join("");
}
