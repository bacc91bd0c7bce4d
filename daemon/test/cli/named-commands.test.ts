import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { beforeAll, describe, expect, test } from "vitest";
import type { Act } from "../../src/cli/catalogue.ts";
import { buildProgram } from "../../src/cli/program.ts";

// A remedy that names a command which is not there is worse than none.

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const noAct: Act = () => () => Promise.resolve();

let program: Command;

beforeAll(async () => {
  const quiet = (): void => undefined;
  program = await buildProgram(null, noAct, { out: quiet, err: quiet });
});

function filesIn(folder: string, end: string): string[] {
  const all = readdirSync(join(ROOT, folder), { recursive: true }) as string[];
  return all.filter((file) => file.endsWith(end)).map((file) => join(folder, file));
}

const text = (file: string): string => readFileSync(join(ROOT, file), "utf8");

/** What is wrong with a line, or null. `isCertain`: that it is a line at all, and no sentence about vlinder. */
function problemOf(line: string, isCertain: boolean): string | null {
  const words = line.replace(/,.*$/, "").split(/\s+/).slice(1);
  const named = words[0] === "help" ? words.slice(1) : words;
  let command = program;
  for (const word of named) {
    if (command.commands.length === 0 || !/^[a-z][a-z-]*$/.test(word)) break;
    const found = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
    if (found === undefined) return isCertain || command !== program ? `${line}: there is no ${word}` : null;
    command = found;
  }
  if (command === program) return null;
  const options = new Set(command.options.flatMap(({ long, short }) => [long, short]));
  const wrong = words
    .filter((word) => /^--?[a-z]/.test(word))
    .map((word) => word.replace(/[=.:)\]\\].*$/, ""))
    .find((word) => word !== "--help" && word !== "-h" && !options.has(word));
  return wrong === undefined ? null : `${line}: there is no ${wrong}`;
}

/** Up to where another program's words or a sentence begin. */
const lineOf = (rest: string): string => (/^vlinder(?: [^\s|;&<>`"']+)*/.exec(rest.replaceAll(/ +/g, " ")) ?? [""])[0];

/** In code: spans that begin with it, and lines of blocks, with a prompt or without. */
function linesOf(document: string): string[] {
  const spans = [...document.matchAll(/`(vlinder [^`\n]+)`/g)].map(([, span = ""]) => span);
  const blocks = [...document.matchAll(/^```[a-z]*\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
    [...block.matchAll(/^(?:[a-z]*[$>] )?(vlinder [a-z].*)$/gm)].map(([, line = ""]) => line),
  );
  return [...spans, ...blocks];
}

describe("commands that are named exist", () => {
  const documents = ["README.md", "CHANGELOG.md", "protocol/PROTOCOL.md", ...filesIn("docs", ".md")];

  test.for(documents.filter((file) => !file.startsWith("docs/decisions")))("%s", (file) => {
    // What is hashed and signed begins with the same word.
    const isCertain = file !== "docs/formats.md";
    const problems = linesOf(text(file)).map((line) => problemOf(lineOf(line), isCertain));
    expect(problems.filter((one) => one !== null)).toEqual([]);
  });

  test("what the program says", () => {
    const sources = ["daemon/src", "protocol/src", "agent-runtime/src"].flatMap((folder) => filesIn(folder, ".ts"));
    const problems = sources.flatMap((file) =>
      [...text(file).matchAll(/\bvlinder [a-z].*/g)].map(([rest]) => problemOf(lineOf(rest), false)),
    );
    expect(problems.filter((one) => one !== null)).toEqual([]);
  });

  test("one that does not is found", () => {
    expect(problemOf("vlinder sync pusch", false)).toMatch(/no pusch/);
    expect(problemOf("vlinder nosuch", true)).toMatch(/no nosuch/);
    expect(problemOf("vlinder sync drill --keeps DIR", false)).toMatch(/no --keeps/);
    expect(linesOf("Do `vlinder a b`.\n```sh\ndesk$ vlinder c\n```\n")).toEqual(["vlinder a b", "vlinder c"]);
  });
});
