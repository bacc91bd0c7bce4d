/** What somebody has typed: a message for the agent, or a command for the session itself. */
export type Said =
  | { readonly kind: "message"; readonly text: string }
  /** With its `/`. */
  | { readonly kind: "command"; readonly text: string };

const QUOTE = '"""';

/**
 * Lines of a terminal as messages. A message is a line; it goes on in the next one when the line ends with `\`, from
 * `"""` to `"""`, and where it was pasted. A line that begins with `/` is a command; a space before it makes it text.
 */
export class MessageLines {
  #lines: string[] = [];
  #quoted = false;

  /** Whether a message has begun that goes on in the next line. */
  get isOpen(): boolean {
    return this.#quoted || this.#lines.length > 0;
  }

  /** Null: there is more to come, or nothing was said. */
  take(line: string, pasted: boolean): Said | null {
    if (pasted) return this.#more(line);
    if (this.#quoted) return this.#quote(line);
    if (!this.isOpen && line.startsWith(QUOTE)) {
      this.#quoted = true;
      return this.#quote(line.slice(QUOTE.length));
    }
    if (!this.isOpen && line.startsWith("/")) return { kind: "command", text: line.trim() };
    if (goesOn(line)) return this.#more(line.slice(0, -1));
    this.#lines.push(line);
    return this.#message();
  }

  /** Forgets a message that has begun. */
  clear(): void {
    this.#lines = [];
    this.#quoted = false;
  }

  #quote(line: string): Said | null {
    const end = line.trimEnd();
    if (!end.endsWith(QUOTE)) return line === "" && this.#lines.length === 0 ? null : this.#more(line);
    this.#lines.push(end.slice(0, -QUOTE.length));
    return this.#message();
  }

  #more(line: string): null {
    this.#lines.push(line);
    return null;
  }

  #message(): Said | null {
    const lines = this.#lines;
    this.clear();
    // The end of a quotation or of what was pasted, on a line of its own.
    if (lines.length > 1 && lines.at(-1) === "") lines.pop();
    const text = lines.join("\n");
    if (text.trim() === "") return null;
    return { kind: "message", text: text.startsWith(" /") ? text.slice(1) : text };
  }
}

/** Two of them are one that was meant. */
function goesOn(line: string): boolean {
  return (/\\*$/.exec(line)?.[0].length ?? 0) % 2 === 1;
}
