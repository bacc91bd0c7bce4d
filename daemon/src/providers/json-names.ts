/**
 * The names of the outermost object of a JSON text, in order, one that is there twice twice: what `JSON.parse` hides.
 * The text must be valid, and an object.
 */
export function topLevelNames(text: string): string[] {
  const names: string[] = [];
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") depth--;
    else if (character === '"') {
      const end = endOfString(text, i);
      if (depth === 1 && isName(text, end)) names.push(JSON.parse(text.slice(i, end)) as string);
      i = end - 1;
    }
  }
  return names;
}

/** Behind the closing quote. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; ; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
}

function isName(text: string, end: number): boolean {
  for (let i = end; i < text.length; i++) {
    const character = text[i];
    if (character === ":") return true;
    if (character !== " " && character !== "\t" && character !== "\n" && character !== "\r") return false;
  }
  return false;
}
