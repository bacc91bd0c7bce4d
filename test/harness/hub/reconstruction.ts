import { Refusal } from "./refusal.ts";
import type { Term, XetFile } from "./shard.ts";
import type { Xorb } from "./xorb.ts";

interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Reconstruction {
  readonly offset_into_first_range: number;
  readonly terms: readonly { readonly hash: string; readonly unpacked_length: number; readonly range: Span }[];
  readonly xorbs: Readonly<
    Record<
      string,
      readonly { readonly url: string; readonly ranges: readonly { readonly chunks: Span; readonly bytes: Span }[] }[]
    >
  >;
}

/**
 * How to make bytes `start` to `end` (included) of a file: the terms that hold them, cut to the chunks
 * that are needed, and for each xorb one signed URL for all its ranges. Chunk ranges exclude their end, byte ranges include it.
 */
export function reconstruct(
  file: XetFile,
  [start, end]: readonly [number, number],
  xorbOf: (hash: string) => Xorb,
  sign: (hash: string, ranges: readonly Span[]) => string,
): Reconstruction {
  if (start >= file.size) throw new Refusal(416, `byte ${start} of a file of ${file.size}`);
  const terms: Term[] = [];
  let offset = 0;
  let skipped: number | undefined;
  for (const term of file.terms) {
    const cut = cutTerm(term, xorbOf(term.xorb), start - offset, end + 1 - offset);
    if (cut !== undefined) {
      skipped ??= start - offset - cut.before;
      terms.push(cut.term);
    }
    offset += term.length;
  }
  const needed = Map.groupBy(terms, ({ xorb }) => xorb);
  const xorbs = [...needed].map(([hash, parts]) => {
    const { chunks } = xorbOf(hash);
    const ranges = merged(parts).map(({ start: first, end: behind }) => ({
      chunks: { start: first, end: behind },
      bytes: { start: chunks[first]?.start ?? 0, end: (chunks[behind - 1]?.end ?? 0) - 1 },
    }));
    return [
      hash,
      [
        {
          url: sign(
            hash,
            ranges.map(({ bytes }) => bytes),
          ),
          ranges,
        },
      ],
    ] as const;
  });
  return {
    offset_into_first_range: skipped ?? 0,
    terms: terms.map((term) => ({
      hash: term.xorb,
      unpacked_length: term.length,
      range: { start: term.start, end: term.end },
    })),
    xorbs: Object.fromEntries(xorbs),
  };
}

/** The chunks of a term that hold bytes `from` up to `to` of it, and the bytes of the term before them. */
function cutTerm(term: Term, xorb: Xorb, from: number, to: number): { term: Term; before: number } | undefined {
  let offset = 0;
  let before = 0;
  let [first, behind, length] = [-1, -1, 0];
  for (let i = term.start; i < term.end; i++) {
    const chunk = xorb.chunks[i];
    if (chunk === undefined) throw new Error("a term leaves its xorb");
    if (offset + chunk.length > from && offset < to) {
      if (first === -1) [first, before] = [i, offset];
      behind = i + 1;
      length += chunk.length;
    }
    offset += chunk.length;
  }
  return first === -1 ? undefined : { term: { xorb: term.xorb, start: first, end: behind, length }, before };
}

/** Chunk ranges in ascending order, those that touch or overlap as one. */
function merged(parts: readonly Span[]): Span[] {
  const all: Span[] = [];
  for (const { start, end } of parts.toSorted((a, b) => a.start - b.start)) {
    const last = all.at(-1);
    if (last !== undefined && start <= last.end)
      all[all.length - 1] = { start: last.start, end: Math.max(last.end, end) };
    else all.push({ start, end });
  }
  return all;
}
