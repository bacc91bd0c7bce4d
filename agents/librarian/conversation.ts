import { EMBEDDER } from "./hashing-embedder.ts";
import { type Answer, Library, type Shelves } from "./library.ts";

const HELP = `read FOLDER ...   read the documents of folders of this machine, by their absolute paths
anything else     is a question: the passages that answer it, and where they are
`;
/** Passages of an answer. */
const SHOWN = 3;

/** Does what a line says: reads folders, or answers a question. */
export async function answer(line: string, shelves: Shelves): Promise<string> {
  const text = line.trim();
  const library = new Library(shelves);
  const folders = /^read\s+(.+)$/is.exec(text)?.[1];
  if (folders !== undefined) return await read(library, folders.split(/\s+/));
  return text === "" || /^(help|read)$/i.test(text) ? HELP : show(await library.ask(text, SHOWN));
}

async function read(library: Library, folders: readonly string[]): Promise<string> {
  const result = await library.read(folders);
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
