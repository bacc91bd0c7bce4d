import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { parse } from "@iarna/toml";
import { invalid, VlinderError } from "@vlinder/protocol";
import { type Position, type TomlPath, TomlPositions } from "./positions.ts";

/** A table as plain data: own text keys only; dates and big integers as the library gives them. */
export type TomlTable = { readonly [key: string]: unknown };

/** One thing that is wrong in a file, and where. */
export interface Problem extends Position {
  readonly message: string;
  /** It may be why others of the file are there, and is told first. */
  readonly cause?: boolean;
}

/** Far above any file that a person writes; a larger one is a mistake, and is not read whole. */
const MAX_BYTES = 1024 * 1024;
const MAX_DEPTH = 64;

/** A TOML file that was parsed, and knows where each of its keys and values is. */
export class TomlSource {
  /** How errors name it. */
  readonly file: string;
  readonly text: string;
  readonly table: TomlTable;
  readonly #positions: TomlPositions;

  /** @throws invalid, with file, line and column, when the text is not TOML */
  constructor(text: string, file: string) {
    this.text = text;
    this.file = file;
    this.#positions = new TomlPositions(text);
    try {
      this.table = plainTable(parse(text), 0);
    } catch (error) {
      throw this.#fail([this.#syntaxProblem(error)], "correct the TOML at this place", error);
    }
  }

  /** An error about what is at a path; `about` says whether the key or the value is wrong. @returns invalid */
  error(path: TomlPath, about: "key" | "value", message: string, remedy: string): VlinderError {
    return this.#fail([this.problem(path, about, message)], remedy);
  }

  /** The first of several problems as the message, all of them in `details.problems`. @returns invalid */
  errors(problems: readonly Problem[], remedy: string): VlinderError {
    return this.#fail(problems, remedy);
  }

  problem(path: TomlPath, about: "key" | "value", message: string): Problem {
    const found = about === "key" ? this.#positions.key(path) : this.#positions.value(path);
    return { ...(found ?? this.#positions.enclosing(path)), message };
  }

  #syntaxProblem(error: unknown): Problem {
    const message = error instanceof Error ? error.message.replace(/ at row \d+, col \d+, pos \d+:[^]*$/, "") : "";
    const offset = (error as { pos?: unknown }).pos;
    if (typeof offset !== "number") return { line: 1, column: 1, message: `not TOML: ${message}` };
    // The library has read one character past the one that it complains about, and of a key that is
    // there already it complains when the value is over.
    const redefined = message.startsWith("Can't redefine");
    const position = redefined ? this.#positions.lastKeyBefore(offset - 1) : null;
    return {
      ...(position ?? this.#positions.position(offset - 1)),
      message: redefined ? "this key is there already" : `not TOML: ${message}`,
    };
  }

  #fail(problems: readonly Problem[], remedy: string, cause?: unknown): VlinderError {
    const sorted = problems.toSorted(
      (a, b) => Number(b.cause ?? false) - Number(a.cause ?? false) || a.line - b.line || a.column - b.column,
    );
    const first = sorted[0] ?? { line: 1, column: 1, message: "not valid" };
    const lines = sorted.map((one) => `${this.file}:${one.line}:${one.column}: ${one.message}`);
    const more = lines.length > 1 ? ` (and ${lines.length - 1} more)` : "";
    return invalid(`${lines[0]}${more}`, {
      remedy,
      details: {
        file: this.file,
        line: first.line,
        column: first.column,
        ...(lines.length > 1 ? { problems: lines } : {}),
      },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

/** Null when there is no such file. @throws invalid: not UTF-8, too large, or not TOML */
export async function readTomlFile(path: string): Promise<TomlSource | null> {
  let bytes: Buffer;
  try {
    const { size } = await regularFile(path);
    if (size > MAX_BYTES) {
      throw invalid(`${path}:1:1: ${size} bytes are more than ${MAX_BYTES}`, { remedy: "make it smaller" });
    }
    bytes = await readFile(path);
  } catch (error) {
    if (error instanceof VlinderError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return null;
    throw invalid(`${path} can't be read: ${message}`, { remedy: "it must be a readable file", cause: error });
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalid(`${path}:1:1: not UTF-8`, { remedy: "save the file as UTF-8", cause });
  }
  return new TomlSource(text, path);
}

async function regularFile(path: string): Promise<Stats> {
  const stats = await stat(path);
  if (!stats.isFile()) throw invalid(`${path} is not a file`, { remedy: "it must be a readable file" });
  return stats;
}

function plainTable(table: object, depth: number): TomlTable {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(table)) {
    if (key === "__proto__") throw new Error('a key named "__proto__"');
    plain[key] = plainValue(value, depth + 1);
  }
  return plain;
}

function plainValue(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new Error("nested too deeply");
  if (Array.isArray(value)) return value.map((one) => plainValue(one, depth + 1));
  if (value === null || typeof value !== "object" || value instanceof Date) return value;
  return plainTable(value, depth);
}
