import { parseArgs } from "node:util";
import { connect, VlinderError } from "@vlinder/agent-runtime";
import { EMBEDDER } from "./hashing-embedder.ts";
import { type Answer, Library } from "./library.ts";

const USAGE = `usage: node main.ts read DIR...              read the documents of folders
       node main.ts ask "QUESTION" [-n 3]      show the passages that answer it
`;

type Command = (library: Library) => Promise<string>;

/** What a command line asks for; null when it is not understood. */
function commandOf(argv: string[]): Command | null {
  const [name, ...rest] = argv;
  if (name === "read" && rest.length > 0 && !rest.some((word) => word.startsWith("-")))
    return (library) => read(library, rest);
  if (name !== "ask") return null;
  const question = questionOf(rest);
  return question && (async (library) => show(await library.ask(question.text, question.n)));
}

function questionOf(argv: string[]): { text: string; n: number } | null {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: { number: { type: "string", short: "n", default: "3" } },
    });
    const text = positionals.join(" ").trim();
    return text !== "" && /^[1-9]\d?$/.test(values.number) ? { text, n: Number(values.number) } : null;
  } catch {
    // An option that there is not: the usage says which there are.
    return null;
  }
}

async function read(library: Library, folders: readonly string[]): Promise<string> {
  const terminal = process.stderr.isTTY;
  const result = await library.read(folders, (done, total) => {
    if (terminal) process.stderr.write(`\r${done}/${total} files${done === total ? "\n" : ""}`);
  });
  const { read: changed, unchanged, duplicates, notText, removed, passages } = result;
  const rest = { unchanged, duplicates, "not text": notText, removed };
  const more = Object.entries(rest).flatMap(([what, count]) => (count > 0 ? [`${count} ${what}`] : []));
  const files = [`read ${changed} of ${result.files} files`, ...more].join(", ");
  return `${files}\n${passages} passages, embedded with ${EMBEDDER}\n`;
}

/** The source of each passage, and how it begins. */
function show(answers: readonly Answer[]): string {
  if (answers.length === 0) return "nothing found\n";
  return answers
    .map(({ file, line, text }, i) => {
      const [heading = "", , ...body] = text.split("\n");
      const lines = body.filter((part) => part.trim() !== "").slice(0, 6);
      const shown = lines.map((part) => `   ${part.length > 116 ? `${part.slice(0, 115)}…` : part}\n`).join("");
      return `${i + 1}. ${file}:${line}\n   ${heading}\n${shown}`;
    })
    .join("\n");
}

const command = commandOf(process.argv.slice(2));
if (command === null) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  try {
    const vlinder = await connect({ agent: "librarian" });
    try {
      process.stdout.write(await command(new Library(vlinder)));
    } finally {
      await vlinder.close();
    }
  } catch (error) {
    if (!(error instanceof VlinderError)) throw error;
    process.stderr.write(`${error.message}${error.remedy === undefined ? "" : `\n${error.remedy}`}\n`);
    process.exitCode = error.code === "unavailable" ? 3 : 1;
  }
}
