import { invalid } from "@vlinder/protocol";

/** What a shell would act on, and we do not: better refused than passed on as an argument that surprises. */
const SHELL_ONLY = /[|&;<>()$`]/;
/** In double quotes a backslash stands for itself but before these. */
const ESCAPED_IN_QUOTES = '"\\$`\n';

/**
 * The words of an `executable`, split as a shell splits them: at white space (line ends too), but for '…', "…" and backslashes. No shell
 * runs it, so what only a shell can do (pipes, redirections, variables) is refused. At least one word.
 * @throws invalid
 */
export function splitCommandLine(text: string): [program: string, ...args: string[]] {
  if (text.includes("\0")) throw wrong("it holds a NUL character", "remove it");
  const words: string[] = [];
  let word: string | null = null;
  for (let i = 0; i < text.length; i++) {
    const one = text.charAt(i);
    if (one === "'") {
      const end = text.indexOf("'", i + 1);
      if (end === -1) throw wrong("a ' is not closed", "close it, or write \\' for the character");
      word = (word ?? "") + text.slice(i + 1, end);
      i = end;
    } else if (one === '"') {
      const quoted = readQuoted(text, i + 1);
      word = (word ?? "") + quoted.text;
      i = quoted.end;
    } else if (one === "\\") {
      i++;
      if (i === text.length) throw wrong("it ends with a backslash", "write \\\\ for the character");
      // A line that goes on.
      if (text.charAt(i) === "\n") continue;
      word = (word ?? "") + text.charAt(i);
    } else if (/\s/.test(one)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (SHELL_ONLY.test(one) || (one === "~" && word === null)) {
      throw needsShell(one);
    } else {
      word = (word ?? "") + one;
    }
  }
  if (word !== null) words.push(word);
  const [program = "", ...args] = words;
  if (program === "") throw wrong("it names no program", 'write one like "node main.ts"');
  return [program, ...args];
}

function readQuoted(text: string, start: number): { readonly text: string; readonly end: number } {
  let read = "";
  for (let i = start; i < text.length; i++) {
    const one = text.charAt(i);
    if (one === '"') return { text: read, end: i };
    if (one === "$" || one === "`") throw needsShell(one);
    if (one === "\\" && i + 1 < text.length && ESCAPED_IN_QUOTES.includes(text.charAt(i + 1))) i++;
    if (one !== "\\" || text.charAt(i) !== "\n") read += text.charAt(i);
  }
  throw wrong('a " is not closed', 'close it, or write \\" for the character');
}

function needsShell(one: string): Error {
  return wrong(
    `${one} means something to a shell, and none is used`,
    `quote it as '${one}', or start a shell: sh -c '…'`,
  );
}

function wrong(why: string, remedy: string): Error {
  return invalid(`the executable can't be split into words: ${why}`, { remedy });
}
