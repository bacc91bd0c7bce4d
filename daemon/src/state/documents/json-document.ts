/** Deeper documents are not merged. */
const DEPTH = 100;
/** Nor those with more values: scalars, arrays and objects. */
const MOST_VALUES = 100_000;

interface Spelled {
  /** Equal values have equal numbers, however they are spelled. */
  readonly id: number;
  /** How much of an identity it is: characters of strings and one each, one of a number. */
  readonly weight: number;
  /** As it stands in the document. */
  readonly text: string;
}

export interface JsonScalar extends Spelled {
  readonly kind: "scalar";
  readonly isIdentity: boolean;
}

/** White space of an array or object: behind its bracket, behind its first comma (null: none), before its end. */
export interface Layout {
  readonly open: string;
  readonly comma: string | null;
  readonly close: string;
  /** An object's first colon, with the white space around it. */
  readonly colon: string;
}

export interface JsonArray extends Spelled {
  readonly kind: "array";
  readonly items: readonly JsonNode[];
  readonly layout: Layout;
}

export interface JsonMember {
  /** With its quotes, as it is spelled. */
  readonly name: string;
  readonly value: JsonNode;
}

export interface JsonObject extends Spelled {
  readonly kind: "object";
  readonly members: ReadonlyMap<string, JsonMember>;
  readonly layout: Layout;
}

export type JsonNode = JsonScalar | JsonArray | JsonObject;

export interface JsonDocument {
  readonly root: JsonNode;
  /** White space before and behind the document. */
  readonly before: string;
  readonly behind: string;
  /** White space behind the first comma that does not end its line; null: there is none. */
  readonly comma: string | null;
}

/** It is not JSON, or too much of it. */
export class NotReadable extends Error {
  readonly why: "not-json" | "too-large";
  constructor(why: "not-json" | "too-large") {
    super(why);
    this.why = why;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/**
 * Reads JSON (RFC 8259) with its spelling. Values of several documents are numbered by one reader, so
 * that equal ones can be told by their numbers. A name that an object has twice makes it no JSON that
 * could be merged.
 */
export class JsonReader {
  readonly #ids = new Map<string, number>();
  #text = "";
  #at = 0;
  #values = 0;
  #comma: string | null = null;

  /** @throws NotReadable */
  read(bytes: Uint8Array): JsonDocument {
    try {
      this.#text = utf8.decode(bytes);
    } catch {
      throw new NotReadable("not-json");
    }
    [this.#at, this.#values, this.#comma] = [0, 0, null];
    const before = this.#space();
    const root = this.#value(0);
    const behind = this.#space();
    if (this.#at < this.#text.length) throw new NotReadable("not-json");
    return { root, before, behind, comma: this.#comma };
  }

  #id(key: string): number {
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    this.#ids.set(key, this.#ids.size);
    return this.#ids.size - 1;
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) return null;
    this.#at += found.length;
    return found;
  }

  #space(): string {
    return this.#match(SPACE) ?? "";
  }

  #value(depth: number): JsonNode {
    if (depth > DEPTH || ++this.#values > MOST_VALUES) throw new NotReadable("too-large");
    const first = this.#text[this.#at];
    if (first === "[") return this.#array(depth);
    if (first === "{") return this.#object(depth);
    return this.#scalar(first);
  }

  #scalar(first: string | undefined): JsonScalar {
    if (first === '"') {
      const { text, value } = this.#string();
      return { kind: "scalar", id: this.#id(`s${value}`), weight: value.length + 1, text, isIdentity: true };
    }
    for (const word of ["true", "false", "null"]) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return { kind: "scalar", id: this.#id(word), weight: 0, text: word, isIdentity: false };
    }
    const text = this.#match(NUMBER);
    if (text === null) throw new NotReadable("not-json");
    return { kind: "scalar", id: this.#id(`n${exactNumber(text)}`), weight: 1, text, isIdentity: true };
  }

  #string(): { text: string; value: string } {
    const start = this.#at++;
    for (;;) {
      const unit = this.#text.charCodeAt(this.#at);
      if (unit === 0x22) break;
      if (unit === 0x5c) {
        if (this.#match(ESCAPE) === null) throw new NotReadable("not-json");
      } else if (unit >= 0x20) {
        this.#at++;
      } else {
        // A control character, or (not a number) the end.
        throw new NotReadable("not-json");
      }
    }
    const text = this.#text.slice(start, ++this.#at);
    return { text, value: text.includes("\\") ? (JSON.parse(text) as string) : text.slice(1, -1) };
  }

  #array(depth: number): JsonArray {
    const start = this.#at;
    const items: JsonNode[] = [];
    const layout = this.#members("]", () => items.push(this.#value(depth + 1)));
    const id = this.#id(`[${items.map((item) => item.id).join()}`);
    return { kind: "array", id, weight: weightOf(items), text: this.#text.slice(start, this.#at), items, layout };
  }

  #object(depth: number): JsonObject {
    const start = this.#at;
    const members = new Map<string, JsonMember>();
    let firstColon: string | null = null;
    const layout = this.#members("}", () => {
      if (this.#text[this.#at] !== '"') throw new NotReadable("not-json");
      const { text: name, value: plain } = this.#string();
      const colon = this.#match(/[ \t\n\r]*:[ \t\n\r]*/y);
      if (colon === null || members.has(plain)) throw new NotReadable("not-json");
      firstColon ??= colon;
      members.set(plain, { name, value: this.#value(depth + 1) });
    });
    const sorted = [...members].map(([name, { value }]) => `${this.#id(`s${name}`)}:${value.id}`).sort();
    const values = [...members.values()].map(({ value }) => value);
    const text = this.#text.slice(start, this.#at);
    return {
      kind: "object",
      id: this.#id(`{${sorted.join()}`),
      weight: weightOf(values),
      text,
      members,
      layout: { ...layout, colon: firstColon ?? ":" },
    };
  }

  /** What stands between brackets, by commas. */
  #members(end: string, member: () => void): Layout {
    this.#at++;
    const open = this.#space();
    if (this.#text[this.#at] === end) {
      this.#at++;
      return { open, comma: null, close: "", colon: ":" };
    }
    for (let comma: string | null = null; ;) {
      member();
      const close = this.#space();
      const mark = this.#text[this.#at++];
      if (mark === end) return { open, comma, close, colon: ":" };
      if (mark !== ",") throw new NotReadable("not-json");
      const space = this.#space();
      comma ??= space;
      if (!space.includes("\n")) this.#comma ??= space;
    }
  }
}

function weightOf(values: readonly JsonNode[]): number {
  return values.reduce((sum, { weight }) => sum + weight, 0);
}

/** The same text for the same number: no digit is lost, as it would be in a double. */
function exactNumber(text: string): string {
  const [mantissa = "", exponent = "0"] = text.toLowerCase().split("e");
  // Nobody counts with these; as they are spelled they are still told apart.
  if (exponent.length > 12) return text;
  const [whole = "", fraction = ""] = mantissa.replace("-", "").split(".");
  const digits = `${whole}${fraction}`;
  let [start, end] = [0, digits.length];
  while (start < end && digits[start] === "0") start++;
  while (end > start && digits[end - 1] === "0") end--;
  if (start === end) return "0";
  const power = Number(exponent) - fraction.length + (digits.length - end);
  return `${mantissa.startsWith("-") ? "-" : ""}${digits.slice(start, end)}e${power}`;
}
