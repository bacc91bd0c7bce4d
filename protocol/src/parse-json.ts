/**
 * `JSON.parse`, also where V8 is wrong: up to Node 24 at least (nodejs/node#63785) it may take a
 * member's name that is written with an escape for another one, which contains a backslash and
 * was parsed before. Texts with such names, which are rare, are taken apart here; strings and
 * numbers still go to `JSON.parse`, one by one, where it is right.
 *
 * @throws SyntaxError
 */
export function parseJson(text: string): unknown {
  return text.includes("\\") && hasEscapedName(text) ? new Reader(text).document() : JSON.parse(text);
}

function hasEscapedName(text: string): boolean {
  for (const [, string, colon] of text.matchAll(/"((?:[^"\\]|\\.)*)"(\s*:)?/gs)) {
    if (colon !== undefined && string?.includes("\\") === true) return true;
  }
  return false;
}

/** Nothing that the protocol accepts is deeper. */
const DEPTH = 1000;

class Reader {
  readonly #text: string;
  /** White space, then a string, another scalar, or a mark. */
  readonly #token = /[ \t\n\r]*("(?:[^"\\]|\\.)*"|[-+.\w]+|[[\]{},:])/sy;
  #next: string | null;

  constructor(text: string) {
    this.#text = text;
    this.#next = this.#read();
  }

  document(): unknown {
    const value = this.#value(0);
    if (this.#next !== null) throw new SyntaxError("more behind the document");
    return value;
  }

  #read(): string | null {
    const at = this.#token.lastIndex;
    const token = this.#token.exec(this.#text)?.[1];
    if (token !== undefined) return token;
    if (this.#text.slice(at).trim() !== "") throw new SyntaxError(`not JSON at ${at}`);
    return null;
  }

  #take(): string {
    const token = this.#next;
    if (token === null) throw new SyntaxError("the document ends too early");
    this.#next = this.#read();
    return token;
  }

  #value(depth: number): unknown {
    if (depth > DEPTH) throw new SyntaxError("nested too deeply");
    const token = this.#take();
    if (token === "[") {
      const list: unknown[] = [];
      this.#members("]", () => list.push(this.#value(depth + 1)));
      return list;
    }
    if (token !== "{") return JSON.parse(token);
    const object: Record<string, unknown> = {};
    this.#members("}", () => {
      const name = this.#take();
      if (!name.startsWith('"') || this.#take() !== ":") throw new SyntaxError("a member needs a name");
      const value = this.#value(depth + 1);
      // As JSON.parse does: `__proto__` is a name like any other.
      Object.defineProperty(object, JSON.parse(name) as string, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    });
    return object;
  }

  #members(end: string, member: () => void): void {
    if (this.#next === end) {
      this.#take();
      return;
    }
    for (;;) {
      member();
      const mark = this.#take();
      if (mark === end) return;
      if (mark !== ",") throw new SyntaxError(`${end} or a comma is missing`);
    }
  }
}
