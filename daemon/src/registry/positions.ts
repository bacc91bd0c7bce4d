/** Where something is in a text; both count from 1, columns in characters. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Keys and array indexes from the document's root, like `["vectors", "dimension"]`. */
export type TomlPath = readonly (string | number)[];

/** Nothing that a person writes is nested deeper; below it, positions are the enclosing value's. */
const MAX_DEPTH = 64;

/** The text is not TOML from here on; what was found before it stands. */
class ScanStop extends Error {}

/**
 * Finds keys and values in TOML text.
 *
 * The TOML library tells the position of a syntax error and forgets every other, so an error about
 * meaning (an unknown key, a wrong type) needs a scan of its own. It builds no values: it follows
 * just enough of the grammar to know which bytes are keys, and notes where each key and each value
 * starts. The text is expected to be one that the library accepts; of any other, the scan keeps
 * what it found before the first thing that it can't follow.
 */
export class TomlPositions {
  readonly #text: string;
  readonly #keys = new Map<string, number>();
  readonly #values = new Map<string, number>();
  /** Keys that were noted only because they lead to another, as `a` in `[a.b]`. */
  readonly #implied = new Set<string>();
  /** How many tables each array of tables has so far. */
  readonly #tables = new Map<string, number>();
  readonly #offsets: number[] = [];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    try {
      this.#document();
    } catch (error) {
      if (!(error instanceof ScanStop)) throw error;
    }
  }

  /** Of the key that ends the path (for an array's element: its value). */
  key(path: TomlPath): Position | null {
    const offset = this.#keys.get(name(path)) ?? this.#values.get(name(path));
    return offset === undefined ? null : this.position(offset);
  }

  /** Of the value; a table that has a header of its own is at its header's key. */
  value(path: TomlPath): Position | null {
    const offset = this.#values.get(name(path));
    return offset === undefined ? this.key(path) : this.position(offset);
  }

  /** Of what encloses a path that is not in the text; the document itself is at 1:1. */
  enclosing(path: TomlPath): Position {
    for (let length = path.length; length > 0; length--) {
      const found = this.key(path.slice(0, length));
      if (found !== null) return found;
    }
    return { line: 1, column: 1 };
  }

  /** Of the last key that starts before an offset. */
  lastKeyBefore(offset: number): Position | null {
    const found = this.#offsets.findLast((start) => start < offset);
    return found === undefined ? null : this.position(found);
  }

  /** Of an offset in UTF-16 units; past the end counts as the end. */
  position(offset: number): Position {
    const before = this.#text.slice(0, Math.max(0, offset));
    const start = before.lastIndexOf("\n") + 1;
    return { line: before.split("\n").length, column: Array.from(before.slice(start)).length + 1 };
  }

  #document(): void {
    let table: TomlPath = [];
    for (;;) {
      this.#blank();
      if (this.#at >= this.#text.length) return;
      if (this.#text.startsWith("[[", this.#at)) table = this.#header(2);
      else if (this.#text[this.#at] === "[") table = this.#header(1);
      else this.#pair(table, 0);
    }
  }

  /** `[a.b]` or `[[a.b]]`; returns the path of the table that it opens. */
  #header(brackets: 1 | 2): TomlPath {
    this.#at += brackets;
    const keys = this.#dotted();
    this.#expect("]".repeat(brackets));
    const path: (string | number)[] = [];
    for (const [index, key] of keys.entries()) {
      path.push(key.text);
      const last = index === keys.length - 1;
      this.#note(path, key.offset, !last);
      const count = this.#tables.get(name(path)) ?? 0;
      if (last && brackets === 2) {
        this.#tables.set(name(path), count + 1);
        path.push(count);
        this.#note(path, key.offset, false);
      } else if (!last && count > 0) {
        path.push(count - 1);
      }
    }
    return path;
  }

  #pair(table: TomlPath, depth: number): void {
    const path = [...table];
    const keys = this.#dotted();
    for (const [index, key] of keys.entries()) {
      path.push(key.text);
      this.#note(path, key.offset, index < keys.length - 1);
    }
    this.#expect("=");
    this.#spaces();
    this.#value(path, depth);
  }

  #note(path: TomlPath, offset: number, implied: boolean): void {
    const key = name(path);
    this.#offsets.push(offset);
    if (this.#keys.has(key) && (implied || !this.#implied.has(key))) return;
    this.#keys.set(key, offset);
    if (implied) this.#implied.add(key);
    else this.#implied.delete(key);
  }

  #dotted(): { text: string; offset: number }[] {
    const keys = [];
    for (;;) {
      this.#spaces();
      const offset = this.#at;
      keys.push({ text: this.#simpleKey(), offset });
      this.#spaces();
      if (this.#text[this.#at] !== ".") return keys;
      this.#at++;
    }
  }

  #simpleKey(): string {
    const quote = this.#text[this.#at];
    if (quote === '"' || quote === "'") {
      const start = this.#at + 1;
      this.#string();
      const inner = this.#text.slice(start, this.#at - 1);
      return quote === '"' ? unescape(inner) : inner;
    }
    return this.#match(/[A-Za-z0-9_-]+/y);
  }

  #value(path: TomlPath, depth: number): void {
    if (depth > MAX_DEPTH) throw new ScanStop();
    this.#values.set(name(path), this.#at);
    const first = this.#text[this.#at];
    if (first === '"' || first === "'") this.#string();
    else if (first === "[") this.#array(path, depth);
    else if (first === "{") this.#inlineTable(path, depth);
    else this.#match(/[^,\]}#\r\n]+/y);
  }

  #array(path: TomlPath, depth: number): void {
    this.#at++;
    for (let index = 0; ; index++) {
      this.#blank();
      if (this.#text[this.#at] === "]") break;
      this.#value([...path, index], depth + 1);
      this.#blank();
      if (this.#text[this.#at] === ",") this.#at++;
      else if (this.#text[this.#at] !== "]") throw new ScanStop();
    }
    this.#at++;
  }

  #inlineTable(path: TomlPath, depth: number): void {
    this.#at++;
    for (;;) {
      this.#blank();
      if (this.#text[this.#at] === "}") break;
      this.#pair(path, depth + 1);
      this.#blank();
      if (this.#text[this.#at] === ",") this.#at++;
      else if (this.#text[this.#at] !== "}") throw new ScanStop();
    }
    this.#at++;
  }

  /** Any of the four kinds of string, with its quotes. */
  #string(): void {
    const quote = this.#text[this.#at] as string;
    const long = quote.repeat(3);
    const end = this.#text.startsWith(long, this.#at) ? long : quote;
    this.#at += end.length;
    while (!this.#text.startsWith(end, this.#at)) {
      const char = this.#text[this.#at];
      if (char === undefined || (char === "\n" && end === quote)) throw new ScanStop();
      this.#at += char === "\\" && quote === '"' ? 2 : 1;
    }
    this.#at += end.length;
    // A long string may end in one or two quotes of its own, before the three that close it.
    if (end === long) while (this.#text[this.#at] === quote) this.#at++;
  }

  #expect(text: string): void {
    if (!this.#text.startsWith(text, this.#at)) throw new ScanStop();
    this.#at += text.length;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) throw new ScanStop();
    this.#at += found.length;
    return found;
  }

  #spaces(): void {
    this.#match(/[ \t]*/y);
  }

  /** White space, line ends and comments. */
  #blank(): void {
    this.#match(/(?:[ \t\r\n]|#[^\n]*)*/y);
  }
}

function name(path: TomlPath): string {
  return JSON.stringify(path);
}

const ESCAPES: Readonly<Record<string, string>> = { b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", e: "\x1b" };

function unescape(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/gu, (_, short, long, char) => {
    if (char !== undefined) return ESCAPES[char as string] ?? (char as string);
    const code = Number.parseInt((short ?? long) as string, 16);
    return code > 0x10ffff ? "\ufffd" : String.fromCodePoint(code);
  });
}
