import { parse } from "@iarna/toml";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type TomlPath, TomlPositions } from "../../src/registry/positions.ts";

/** Where the mark « is in a text, and the text without it. */
function marked(text: string): { text: string; at: { line: number; column: number } } {
  const offset = text.indexOf("«");
  return { text: text.replace("«", ""), at: place(text, offset) };
}

function place(text: string, offset: number): { line: number; column: number } {
  let line = 1;
  let column = 1;
  for (const char of text.slice(0, offset)) {
    if (char === "\n") [line, column] = [line + 1, 1];
    else column++;
  }
  return { line, column };
}

describe("keys", () => {
  const cases: [string, TomlPath, string][] = [
    ["plain", ["b"], "a = 1\n  «b = 2"],
    ["after a comment with brackets", ["b"], "# [x] a = {\n«b = 1"],
    ["in a table", ["t", "a"], "a = 1\n[t]\n«a = 2"],
    ["a table's header", ["t"], "a = 1\n[ «t ] # c\nb = 1"],
    ["a nested header", ["a", "b"], "[a . «b]\nc = 1"],
    ["a parent that only a header implies", ["a"], "[«a.b]\nc = 1"],
    ["a parent that has a header of its own later", ["a"], "[a.b]\nc = 1\n[«a]\nd = 1"],
    ["a dotted key", ["a", "b"], "a.«b = 1"],
    ["a quoted key", ["x.y"], '«"x.y" = 1'],
    ["a literal key in a dotted one", ["a", "b c"], "a.«'b c' = 1"],
    ["a key with escapes", ['q"\u00e9'], '«"q\\"\\u00e9" = 1'],
    ["in an inline table", ["t", "b"], "t = { a = 1, «b = 2 }"],
    ["in an inline table in an array", ["t", 1, "b"], "t = [ {b = 1}, {«b = 2} ]"],
    ["after strings that hold # [ and quotes", ["z"], 'a = "# [ \\" ]"\nb = \'# [\'\n«z = 1'],
    ["after a long string", ["z"], 'a = """\nz = 1\n[t]\n\\"""\n"""\n«z = 1'],
    ["after a long string that ends in quotes", ["z"], 'a = """x"""""\n«z = 1'],
    ["after a long literal string", ["z"], "a = '''\nz = 1 '' [\n'''\n«z = 1"],
    ["after an array over lines", ["z"], 'a = [\n 1, # ]\n "]",\n]\n«z = 1'],
    ["in an array of tables", ["t", 1, "a"], "[[t]]\na = 1\n[[t]]\n«a = 2"],
    ["under an array of tables", ["t", 1, "s", "a"], "[[t]]\n[t.s]\na = 1\n[[t]]\n[t.s]\n«a = 2"],
    ["in nested arrays of tables", ["t", 0, "u", 1, "a"], "[[t]]\n[[t.u]]\na = 1\n[[t.u]]\n«a = 2"],
    ["with Windows line ends", ["b"], "a = 1\r\n«b = 2\r\n"],
    ["columns count characters", ["t", "b"], 't = { a = "😀é", «b = 2 }'],
  ];
  test.each(cases)("%s", (_name, path, text) => {
    const { text: toml, at } = marked(text);
    expect(() => parse(toml)).not.toThrow();
    expect(new TomlPositions(toml).key(path)).toEqual(at);
  });
});

describe("values", () => {
  const cases: [string, TomlPath, string][] = [
    ["a scalar", ["a"], "a  =  «1 # c"],
    ["an element", ["a", 2], "a = [1,\n 2,\n «3]"],
    ["in an inline table", ["t", "b"], "t = {a = 1, b = «[2]}"],
    ["a table is at its header", ["t"], "[«t]\na = 1"],
  ];
  test.each(cases)("%s", (_name, path, text) => {
    const { text: toml, at } = marked(text);
    expect(new TomlPositions(toml).value(path)).toEqual(at);
  });

  test("what is not there has no position, and its enclosing table has one", () => {
    const positions = new TomlPositions("a = 1\n[t]\nb = 1");
    expect(positions.key(["t", "c"])).toBeNull();
    expect(positions.enclosing(["t", "c"])).toEqual({ line: 2, column: 2 });
    expect(positions.enclosing(["x"])).toEqual({ line: 1, column: 1 });
  });
});

test("any text ends the scan without an error", () => {
  const piece = fc.constantFrom(
    "a",
    ".",
    "=",
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    '"""',
    "'''",
    "#",
    "\n",
    ",",
    " ",
    "\\",
    "1",
    "é",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      const positions = new TomlPositions(pieces.join(""));
      expect(positions.enclosing(["a"]).line).toBeGreaterThan(0);
    }),
    { numRuns: 2000 },
  );
  expect(new TomlPositions("a = " + "[".repeat(1e6)).key(["a"])).toEqual({ line: 1, column: 1 });
});

type Node =
  | { kind: "scalar"; text: string }
  | { kind: "array"; items: Node[] }
  | { kind: "inline" | "dotted" | "table"; members: Map<string, Node> }
  | { kind: "tables"; tables: Map<string, Node>[] };

const scalar = fc
  .constantFrom(
    "1",
    "-2.5",
    "true",
    "1979-05-27T07:32:00Z",
    '"x"',
    '"a # b [c] = {"',
    "'# \\ [x]'",
    '"\\"] \\\\"',
    '""',
    "''",
    '"""\nk = 1\n[t]\n"""',
    '"""two ""quotes\\""""',
    "'''\n# '' ]\nb = 1\n'''",
    '"😀é"',
  ) // prettier-ignore
  .map((text): Node => ({ kind: "scalar", text }));
const key = fc.oneof(
  fc.constantFrom("a", "b", "c", "a-b", "1", "x_y"),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 5 }).filter((text) => text !== "__proto__"),
);
const members = (node: fc.Arbitrary<Node>) =>
  fc.uniqueArray(fc.tuple(key, node), { maxLength: 4, selector: ([name]) => name }).map((pairs) => new Map(pairs));
const inner = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("node"), { maxLength: 3 }).map((items): Node => ({ kind: "array", items })),
    members(tie("node")).map((map): Node => ({ kind: "inline", members: map })),
  ),
})).node;
const outer = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    inner,
    members(inner)
      .filter((map) => map.size > 0)
      .map((map): Node => ({ kind: "dotted", members: map })),
    members(tie("node")).map((map): Node => ({ kind: "table", members: map })),
    fc.array(members(tie("node")), { minLength: 1, maxLength: 3 }).map((tables): Node => ({ kind: "tables", tables })),
  ),
})).node;

/** Writes TOML and notes where every key that it writes is. */
class Writer {
  text = "";
  readonly keys: [TomlPath, number][] = [];
  readonly values: [TomlPath, number][] = [];
  #style: number;
  constructor(style: number) {
    this.#style = style >>> 0;
  }
  #pick<T>(...options: T[]): T {
    this.#style = (Math.imul(this.#style, 1664525) + 1013904223) >>> 0;
    return options[(this.#style >>> 16) % options.length] as T;
  }
  #space(): void {
    this.text += this.#pick("", " ", "\t ");
  }
  #end(): void {
    this.text += this.#pick("\n", ' # [c] = "\n', "\r\n", "\n\n  # é '''\n");
  }
  #key(path: TomlPath): void {
    const name = String(path.at(-1));
    const forms = [JSON.stringify(name)];
    if (/^[A-Za-z0-9_-]+$/.test(name)) forms.push(name, name);
    // oxlint-disable-next-line no-control-regex
    if (!/['\x00-\x1f\x7f]/.test(name)) forms.push(`'${name}'`);
    this.keys.push([path, this.text.length]);
    this.text += this.#pick(...forms);
  }
  #value(path: TomlPath, node: Node): void {
    this.values.push([path, this.text.length]);
    if (node.kind === "scalar") this.text += node.text;
    else if (node.kind === "array") {
      this.text += "[";
      for (const [index, item] of node.items.entries()) {
        this.text += this.#pick("", "\n", " # ]\n ");
        this.#value([...path, index], item);
        this.#space();
        if (index < node.items.length - 1) this.text += ",";
      }
      this.text += this.#pick("", "\n") + "]";
    } else if (node.kind === "inline") {
      this.text += "{";
      for (const [index, [name, child]] of [...node.members].entries()) {
        if (index > 0) this.text += ",";
        this.#space();
        this.#key([...path, name]);
        this.text += this.#pick("=", " = ");
        this.#value([...path, name], child);
        this.#space();
      }
      this.text += "}";
    }
  }
  /** `header`: the names of the enclosing tables as a header writes them, without indexes. */
  table(path: TomlPath, header: TomlPath, table: Map<string, Node>): void {
    for (const [name, node] of table) {
      const here = [...path, name];
      if (node.kind === "dotted") {
        for (const [last, child] of node.members) {
          this.#key(here);
          this.text += this.#pick(".", " . ");
          this.#key([...here, last]);
          this.text += this.#pick("=", " = ");
          this.#value([...here, last], child);
          this.#end();
        }
      } else if (node.kind !== "table" && node.kind !== "tables") {
        this.#space();
        this.#key(here);
        this.text += this.#pick("=", "\t= ");
        this.#value(here, node);
        this.#end();
      }
    }
    for (const [name, node] of table) {
      const here = [...path, name];
      const names = [...header, name];
      if (node.kind === "table") {
        this.#header("[", "]", names, here);
        this.table(here, names, node.members);
      } else if (node.kind === "tables") {
        for (const [index, one] of node.tables.entries()) {
          const at = this.#header("[[", "]]", names, here);
          this.keys.push([[...here, index], at]);
          this.table([...here, index], names, one);
        }
      }
    }
  }
  #header(open: string, close: string, names: TomlPath, path: TomlPath): number {
    this.#space();
    this.text += open;
    for (const name of names.slice(0, -1)) this.text += `${JSON.stringify(name)}.`;
    const at = this.text.length;
    this.#key(path);
    this.#space();
    this.text += close;
    this.#end();
    return at;
  }
}

test("every key and value of generated TOML is found where it was written", () => {
  let found = 0;
  fc.assert(
    fc.property(members(outer), fc.nat(), (root, style) => {
      const writer = new Writer(style);
      writer.table([], [], root);
      const { text } = writer;
      expect(() => parse(text), text).not.toThrow();
      const positions = new TomlPositions(text);
      // A key that is written more than once (a dotted one, an array's) counts where it is first.
      const first = new Map<string, [TomlPath, number]>();
      for (const one of writer.keys) if (!first.has(JSON.stringify(one[0]))) first.set(JSON.stringify(one[0]), one);
      for (const [path, offset] of first.values()) {
        expect(positions.key(path), `${JSON.stringify(path)} in\n${text}`).toEqual(place(text, offset));
        found++;
      }
      for (const [path, offset] of writer.values) {
        expect(positions.value(path), `${JSON.stringify(path)} in\n${text}`).toEqual(place(text, offset));
      }
    }),
    { numRuns: 300 },
  );
  expect(found).toBeGreaterThan(500);
});
