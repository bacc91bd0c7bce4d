import { align } from "./alignment.ts";

/** Lines of the same on each side of a change. */
const CONTEXT = 3;

/** A place where two texts differ, as unified diffs have it. */
export interface Hunk {
  /** Its first line, counting from 1 (of no lines: the one before), and how many, in each text. */
  readonly from: readonly [start: number, count: number];
  readonly to: readonly [start: number, count: number];
  /** Each with what it is in front: a space, `-` or `+`; a line with `\` follows one that does not end. */
  readonly lines: readonly string[];
}

interface Step {
  readonly mark: " " | "-" | "+";
  /** With its line feed. */
  readonly line: string;
}

/** What differs between two texts, line by line. Whether the last line ends counts where one of two texts ends it. */
export function diffTexts(from: string, to: string): Hunk[] {
  const differ = from !== "" && to !== "" && from.endsWith("\n") !== to.endsWith("\n");
  const steps = stepsOf(linesOf(from, !differ), linesOf(to, !differ));
  const hunks: Hunk[] = [];
  let [fromLine, toLine, at] = [0, 0, 0];
  const take = (end: number): Hunk => {
    const [fromBefore, toBefore] = [fromLine, toLine];
    const lines: string[] = [];
    for (; at < end; at++) {
      const { mark, line } = steps[at] as Step;
      if (mark !== "+") fromLine++;
      if (mark !== "-") toLine++;
      const ends = line.endsWith("\n");
      lines.push(mark + (ends ? line.slice(0, -1) : line), ...(ends ? [] : ["\\ no line feed at the end"]));
    }
    const place = (before: number, after: number): [number, number] => [
      after === before ? before : before + 1,
      after - before,
    ];
    return { from: place(fromBefore, fromLine), to: place(toBefore, toLine), lines };
  };
  for (const [start, end] of changed(steps)) {
    take(start);
    hunks.push(take(end));
  }
  return hunks;
}

function linesOf(text: string, isEnded: boolean): string[] {
  if (text === "") return [];
  return (isEnded && !text.endsWith("\n") ? `${text}\n` : text).split(/(?<=\n)/);
}

function stepsOf(from: readonly string[], to: readonly string[]): Step[] {
  const numbers = new Map<string, number>();
  const number = (line: string): number => {
    const known = numbers.get(line) ?? numbers.size;
    numbers.set(line, known);
    return known;
  };
  const matches = align(from.map(number), to.map(number));
  const steps: Step[] = [];
  let next = 0;
  for (const [i, line] of from.entries()) {
    const match = matches[i] as number;
    if (match < 0) {
      steps.push({ mark: "-", line });
      continue;
    }
    for (; next < match; next++) steps.push({ mark: "+", line: to[next] as string });
    steps.push({ mark: " ", line });
    next = match + 1;
  }
  for (; next < to.length; next++) steps.push({ mark: "+", line: to[next] as string });
  return steps;
}

/** Stretches with changes, and what is around them; two that touch are one. */
function changed(steps: readonly Step[]): [start: number, end: number][] {
  const stretches: [number, number][] = [];
  for (const [i, { mark }] of steps.entries()) {
    if (mark === " ") continue;
    const end = Math.min(i + CONTEXT + 1, steps.length);
    const last = stretches.at(-1);
    if (last !== undefined && i - CONTEXT <= last[1]) last[1] = end;
    else stretches.push([Math.max(i - CONTEXT, 0), end]);
  }
  return stretches;
}
