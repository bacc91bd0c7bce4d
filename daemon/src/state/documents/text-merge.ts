import { type AlignedSide, alignLines, type Lines } from "./line-moves.ts";
import { type Merged, MOST_PLACES, type NotMerged } from "./merged-document.ts";

/** More lines than this are not merged. */
const MOST_LINES = 100_000;

/** A line without a letter or a digit may stand anywhere, and is not known again where it was moved to. */
const TELLING = /[0-9A-Za-z\x80-\xff]/;

/** Bytes as lines: every byte is one unit, so that any encoding with line feeds will do. */
interface Text {
  readonly lines: readonly string[];
  /** Whether every line that ends, ends with CR LF; then the lines are without the CR. Null: no line ends. */
  readonly crlf: boolean | null;
  /** Whether the last line ends. Null: there is none. */
  readonly ends: boolean | null;
}

/** A change of one side: lines [from, to) of the base became [sideFrom, sideTo) of the side. */
interface Edit {
  readonly from: number;
  readonly to: number;
  readonly sideFrom: number;
  readonly sideTo: number;
}

interface Side {
  readonly lines: Lines;
  readonly edits: readonly Edit[];
}

/**
 * Three-way merge of texts by line. Where both sides inserted at the same place the older lines come
 * first; where they changed the same lines in different ways the newer ones stand, and the place is
 * listed as `first,count` of the merged text, counting from 1. A line that a side moved stands where that
 * side has it; one that both did as the newer one has it, and it is listed where they do not agree. How
 * lines end, and whether the last one does, merge by themselves.
 *
 * @param base null: the sides have nothing in common
 */
export function mergeTexts(base: Uint8Array | null, newer: Uint8Array, older: Uint8Array): Merged | NotMerged {
  const texts = [base ?? new Uint8Array(), newer, older];
  if (texts.some((bytes) => bytes.includes(0))) return { why: "not-text" };
  const all = texts.map((bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"));
  const lines = all.map((text) => text.split("\n"));
  if (lines.some(({ length }) => length > MOST_LINES)) return { why: "too-large" };
  // A text in which lines end in both ways has CRs as a part of its lines; then all are taken so.
  const mixed = lines.some((some) => !isCrlf(some) && some.slice(0, -1).some((line) => line.endsWith("\r")));
  const [was, a, b] = lines.map((some) => readText(some, mixed)) as [Text, Text, Text];

  const { merged, places } = mergeLines(was.lines, a.lines, b.lines);
  const end = threeWay(was.crlf, a.crlf, b.crlf) === true ? "\r\n" : "\n";
  const last = threeWay(was.ends, a.ends, b.ends) === true && merged.length > 0 ? end : "";
  return { bytes: Buffer.from(merged.join(end) + last, "latin1"), places };
}

function isCrlf(split: readonly string[]): boolean {
  return split.length > 1 && split.slice(0, -1).every((line) => line.endsWith("\r"));
}

function readText(split: readonly string[], mixed: boolean): Text {
  const ends = split.at(-1) === "";
  const whole = ends ? split.slice(0, -1) : split;
  if (split.length === 1) return { lines: whole, crlf: null, ends: ends ? null : false };
  const crlf = !mixed && isCrlf(split);
  const cut = (line: string, i: number): string => (i < split.length - 1 ? line.slice(0, -1) : line);
  return { lines: crlf ? whole.map(cut) : whole, crlf, ends };
}

function threeWay(was: boolean | null, newer: boolean | null, older: boolean | null): boolean | null {
  return newer === null || newer === was ? (older ?? newer) : newer;
}

function mergeLines(
  base: readonly string[],
  newer: readonly string[],
  older: readonly string[],
): { merged: string[]; places: string[] } {
  const numbers = new Map<string, number>();
  const number = (line: string): number => {
    const known = numbers.get(line) ?? numbers.size;
    numbers.set(line, known);
    return known;
  };
  const texts = [base.map(number), newer.map(number), older.map(number)] as const;
  const lines = [...numbers.keys()];
  const aligned = alignLines(...texts, (line) => TELLING.test(lines[line] as string));
  const { merged, contested } = mergeSides(aligned.base, sideOf(aligned.newer), sideOf(aligned.older));
  // Those that have something less than a side wrote come first where there are too many.
  const places = [...contested, ...runsOf(merged, aligned.disputed)].slice(0, MOST_PLACES);
  places.sort(([one], [other]) => one - other);
  return {
    merged: merged.map((line) => lines[line] as string),
    places: places.map(([first, count]) => `${first + 1},${count}`),
  };
}

/** Where lines of a set stand, those that follow each other as one. */
function runsOf(lines: Lines, wanted: ReadonlySet<number>): [first: number, count: number][] {
  const runs: [number, number][] = [];
  for (const [at, line] of lines.entries()) {
    if (!wanted.has(line)) continue;
    const run = runs.at(-1);
    if (run !== undefined && run[0] + run[1] === at) run[1]++;
    else runs.push([at, 1]);
  }
  return runs;
}

function sideOf({ lines, matches }: AlignedSide): Side {
  const edits: Edit[] = [];
  let [from, sideFrom] = [0, 0];
  for (let at = 0; at <= matches.length; at++) {
    const sideAt = at === matches.length ? lines.length : (matches[at] as number);
    if (sideAt < 0) continue;
    if (from < at || sideFrom < sideAt) edits.push({ from, to: at, sideFrom, sideTo: sideAt });
    [from, sideFrom] = [at + 1, sideAt + 1];
  }
  return { lines, edits };
}

/** Edits of both sides that touch the same lines of the base, or are insertions at the same place. */
interface Hunk {
  readonly from: number;
  to: number;
  readonly newer: Edit[];
  readonly older: Edit[];
}

function* hunksOf(newer: readonly Edit[], older: readonly Edit[]): Generator<Hunk> {
  const open = [
    ...newer.map((edit) => ({ edit, by: "newer" as const })),
    ...older.map((edit) => ({ edit, by: "older" as const })),
  ].sort((x, y) => x.edit.from - y.edit.from || x.edit.to - y.edit.to);
  let hunk: Hunk | null = null;
  for (const { edit, by } of open) {
    const bothInsert = hunk !== null && hunk.from === hunk.to && edit.from === edit.to && edit.from === hunk.to;
    if (hunk === null || (edit.from >= hunk.to && !bothInsert)) {
      if (hunk !== null) yield hunk;
      hunk = { from: edit.from, to: edit.to, newer: [], older: [] };
    }
    hunk.to = Math.max(hunk.to, edit.to);
    hunk[by].push(edit);
  }
  if (hunk !== null) yield hunk;
}

interface MergedLines {
  readonly merged: number[];
  /** Where the newer side's lines stand against the older's, and how many they are. */
  readonly contested: [first: number, count: number][];
}

function mergeSides(base: Lines, newer: Side, older: Side): MergedLines {
  const merged: number[] = [];
  const contested: [number, number][] = [];
  let at = 0;
  for (const hunk of hunksOf(newer.edits, older.edits)) {
    for (const line of base.slice(at, hunk.from)) merged.push(line);
    at = hunk.to;
    const mine = linesOf(newer, hunk, hunk.newer);
    const theirs = linesOf(older, hunk, hunk.older);
    let taken = mine;
    if (hunk.newer.length === 0) taken = theirs;
    else if (hunk.older.length === 0 || same(mine, theirs)) taken = mine;
    else if (hunk.from === hunk.to) taken = [...theirs, ...mine];
    else if (!isOnlyRemoved(hunk)) contested.push([merged.length, mine.length]);
    else taken = [];
    for (const line of taken) merged.push(line);
  }
  for (const line of base.slice(at)) merged.push(line);
  return { merged, contested };
}

/** What a side has in place of a hunk's lines: between its edits, the base's lines. */
function linesOf({ lines }: Side, { from, to }: Hunk, edits: readonly Edit[]): Lines {
  const [first, last] = [edits[0], edits.at(-1)];
  if (first === undefined || last === undefined) return [];
  return lines.slice(first.sideFrom - (first.from - from), last.sideTo + (to - last.to));
}

function same(a: Lines, b: Lines): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i]);
}

/** Then all its lines are removed, as its changes overlap. */
function isOnlyRemoved(hunk: Hunk): boolean {
  return [...hunk.newer, ...hunk.older].every(({ sideFrom, sideTo }) => sideFrom === sideTo);
}
