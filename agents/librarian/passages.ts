/** A piece of a document that is small enough to be about one thing. */
export interface Passage {
  /** The document's title and the headings that it stands under. */
  readonly heading: string;
  readonly text: string;
  /** Line of the document where it begins, from 1. */
  readonly line: number;
}

interface Block {
  readonly text: string;
  readonly line: number;
}

/** Characters of a passage: about a screenful. A single block may be longer only up to twice that. */
const SIZE = 900;

/**
 * Cuts a document at its headings, and where a section is long between paragraphs; the last paragraph
 * of a piece is also the first of the next when it is short, so that what refers to it stays with it.
 */
export function cut(document: string, title: string): Passage[] {
  return sections(document).flatMap(({ headings, blocks }) => {
    const heading = [title, ...headings.filter((name) => name !== title)].join(" › ");
    return pieces(blocks).map((piece) => {
      return { heading, text: piece.map(({ text }) => text).join("\n\n"), line: piece[0]?.line ?? 1 };
    });
  });
}

/** The first heading, or null. */
export function titleOf(document: string): string | null {
  return sections(document).flatMap(({ headings }) => headings)[0] ?? null;
}

interface Section {
  readonly headings: readonly string[];
  readonly blocks: readonly Block[];
}

function sections(document: string): Section[] {
  const found: { headings: string[]; blocks: Block[] }[] = [{ headings: [], blocks: [] }];
  const open: { level: number; name: string }[] = [];
  let lines: string[] = [];
  let start = 1;
  let fenced = false;
  const endBlock = (): void => {
    const text = lines.join("\n").trimEnd();
    if (text !== "") found.at(-1)?.blocks.push(...split({ text, line: start }));
    lines = [];
  };
  document.split(/\r?\n/).forEach((line, i) => {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    const heading = fenced ? null : /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading !== null) {
      endBlock();
      const level = heading[1]?.length ?? 1;
      while ((open.at(-1)?.level ?? 0) >= level) open.pop();
      open.push({ level, name: plain(heading[2] ?? "") });
      found.push({ headings: open.map(({ name }) => name), blocks: [] });
    } else if (line.trim() === "" && !fenced) endBlock();
    else {
      if (lines.length === 0) start = i + 1;
      lines.push(line);
    }
  });
  endBlock();
  return found;
}

/** A heading without its mark-up. */
function plain(text: string): string {
  return text
    .replace(/<[^>]*>/g, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/[`*]/g, "")
    .trim();
}

/** Blocks like long listings are cut between lines. */
function split(block: Block): Block[] {
  if (block.text.length <= 2 * SIZE) return [block];
  const parts: Block[] = [];
  let text = "";
  let line = block.line;
  block.text.split("\n").forEach((next, i) => {
    if (text !== "" && text.length + next.length > SIZE) {
      parts.push({ text, line });
      [text, line] = ["", block.line + i];
    }
    // Minified text has lines without end: what is searched is words, so any cut will do.
    for (; next.length > 2 * SIZE; next = next.slice(SIZE)) parts.push({ text: next.slice(0, SIZE), line });
    text += text === "" ? next : `\n${next}`;
  });
  return [...parts, { text, line }];
}

function pieces(blocks: readonly Block[]): Block[][] {
  const found: Block[][] = [];
  let piece: Block[] = [];
  let size = 0;
  for (const block of blocks) {
    if (size > 0 && size + block.text.length > SIZE) {
      found.push(piece);
      const last = piece.at(-1) as Block;
      piece = piece.length > 1 && last.text.length < SIZE / 4 ? [last] : [];
      size = piece.length === 0 ? 0 : last.text.length;
    }
    piece.push(block);
    size += block.text.length;
  }
  return size === 0 ? found : [...found, piece];
}
