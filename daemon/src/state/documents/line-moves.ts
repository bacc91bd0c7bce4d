import { align, type Matches } from "./alignment.ts";

/** Lines as numbers: the same line is the same number. */
export type Lines = readonly number[];

/** A side, and where it has the base's lines, in ascending order; -1: not. */
export interface AlignedSide {
  readonly lines: Lines;
  readonly matches: Matches;
}

export interface Aligned {
  readonly base: Lines;
  readonly newer: AlignedSide;
  readonly older: AlignedSide;
  /** Lines that both sides moved, to different places. */
  readonly disputed: ReadonlySet<number>;
}

/** In front of all lines of the base. */
const FRONT = -1;

interface Side {
  readonly lines: Lines;
  /** For each line of the base where the side has it, also if it was moved; -1: it has not. */
  readonly matches: Matches;
  /** Lines of the base that the side has in another order. */
  readonly moved: ReadonlySet<number>;
  /** For each of the side's lines the line of the base that it is, that it replaces, or that it follows. */
  readonly slots: Matches;
}

/**
 * Which lines of the base each side has, with the three texts brought into one order first: a line that
 * one side moved stands where that one has it, one that both moved where the newer one has it.
 *
 * Taken as removed here and inserted there, as diff3 does it, a line that both sides moved would be there
 * twice, and a move of many lines would be a change that meets those of the other side. And that both move
 * lines is the rule where merges cross: the order in which a base that was merged itself has what was
 * inserted at one place need not be that of the sides.
 *
 * A line can be followed when all three have it, and have it once: one that a side no longer has was changed or removed by it,
 * and is put there anew by who has it elsewhere.
 *
 * @param tells whether a line is more than what any text may have anywhere, such as an empty one
 */
export function alignLines(base: Lines, newer: Lines, older: Lines, tells: (line: number) => boolean): Aligned {
  const [inNewer, inOlder] = [align(base, newer), align(base, older)];
  const isWhole = (matches: Matches): boolean => matches.every((at) => at >= 0);
  const anchors =
    isWhole(inNewer) && isWhole(inOlder) ? [] : onceInAll(base, newer, older).filter(({ line }) => tells(line));
  const mine = sideOf(newer, inNewer, new Map(anchors.map(({ at: [was, now] }) => [was, now])));
  const theirs = sideOf(older, inOlder, new Map(anchors.map(({ at: [was, , now] }) => [was, now])));
  const onlyTheirs = new Set([...theirs.moved].filter((line) => !mine.moved.has(line)));
  const order = new Order(base.length);
  order.move(mine.moved, mine.slots, onlyTheirs);
  order.move(onlyTheirs, theirs.slots, mine.moved);
  const inOrder = order.lines();
  const isSettled = (line: number): boolean =>
    isIn(mine, line) && isIn(theirs, line) && mine.moved.has(line) === theirs.moved.has(line);
  const [myPlaces, theirPlaces] = [followed(mine, isSettled), followed(theirs, isSettled)];
  const both = [...mine.moved].filter((line) => theirs.moved.has(line));
  const disputed = both.filter((line) => myPlaces[line] !== theirPlaces[line]);
  return {
    base: Array.from(inOrder, (line) => base[line] as number),
    newer: arranged(mine, inOrder),
    older: arranged(theirs, inOrder),
    disputed: new Set(disputed.map((line) => base[line] as number)),
  };
}

/** @param anchors where in the base, and where in the side */
function sideOf(lines: Lines, matches: Matches, anchors: ReadonlyMap<number, number>): Side {
  const moved = new Set<number>();
  for (const [from, to] of anchors) {
    if ((matches[from] as number) >= 0) continue;
    matches[from] = to;
    moved.add(from);
  }
  return { lines, matches, moved, slots: slotsOf(matches, moved, lines.length) };
}

interface Anchor {
  readonly line: number;
  /** Where in the base, the newer one and the older one. */
  readonly at: readonly [number, number, number];
}

/** Lines that each of the texts has, and has once. */
function onceInAll(...texts: readonly [Lines, Lines, Lines]): Anchor[] {
  const [base, newer, older] = texts.map(onlyOnes) as [OnlyOnes, OnlyOnes, OnlyOnes];
  const anchors: Anchor[] = [];
  for (const [line, was] of base) {
    const [mine, theirs] = [newer.get(line), older.get(line)];
    if (mine !== undefined && theirs !== undefined) anchors.push({ line, at: [was, mine, theirs] });
  }
  return anchors;
}

/** Lines that a text has once, and where. */
type OnlyOnes = ReadonlyMap<number, number>;

function onlyOnes(lines: Lines): OnlyOnes {
  const found = new Map<number, number>();
  const more = new Set<number>();
  for (const [at, line] of lines.entries()) {
    if (found.has(line)) more.add(line);
    else found.set(line, at);
  }
  for (const line of more) found.delete(line);
  return found;
}

function slotsOf(matches: Matches, moved: ReadonlySet<number>, length: number): Matches {
  /** Where what the side has behind a line belongs: to the next one, if that is gone, and so replaced. */
  const behind = (line: number): number => {
    if (moved.has(line)) return line;
    let next = line + 1;
    while (moved.has(next)) next++;
    return next < matches.length && (matches[next] as number) < 0 ? next : line;
  };
  const slots = new Int32Array(length).fill(FRONT);
  const own = inverse(matches, length);
  let slot = behind(FRONT);
  for (let at = 0; at < length; at++) {
    const line = own[at] as number;
    slots[at] = line < 0 ? slot : line;
    if (line >= 0) slot = behind(line);
  }
  return slots;
}

function inverse(matches: Matches, length: number): Matches {
  const inverted = new Int32Array(length).fill(-1);
  for (const [i, at] of matches.entries()) if (at >= 0) inverted[at] = i;
  return inverted;
}

/** The base's lines, in an order that changes. */
class Order {
  /** The line behind each; that of the front is last. */
  readonly #next: Int32Array;
  readonly #front: number;

  constructor(length: number) {
    this.#front = length;
    this.#next = Int32Array.from({ length: length + 1 }, (_, i) => (i === length ? 0 : i + 1));
  }

  /** Puts lines where a side has them: behind the slot before theirs that is not to be passed over. */
  move(moved: ReadonlySet<number>, slots: Matches, passedOver: ReadonlySet<number>): void {
    if (moved.size === 0) return;
    this.#take(moved);
    let before = this.#front;
    for (const slot of slots) {
      if (slot === FRONT || slot === before || passedOver.has(slot)) continue;
      if (moved.has(slot)) {
        this.#next[slot] = this.#next[before] as number;
        this.#next[before] = slot;
      }
      before = slot;
    }
  }

  #take(lines: ReadonlySet<number>): void {
    let before = this.#front;
    for (let at = this.#next[before] as number; at !== this.#front; at = this.#next[at] as number) {
      if (lines.has(at)) continue;
      this.#next[before] = at;
      before = at;
    }
    this.#next[before] = this.#front;
  }

  lines(): Int32Array {
    const lines = new Int32Array(this.#front);
    let count = 0;
    for (let at = this.#next[this.#front] as number; at !== this.#front; at = this.#next[at] as number) {
      lines[count++] = at;
    }
    return lines;
  }
}

/** A side's lines in the order of their slots. */
function arranged(side: Side, inOrder: Int32Array): AlignedSide {
  const ranks = inverse(inOrder, inOrder.length);
  // That of the front is none.
  const rank = (at: number): number => ranks[side.slots[at] as number] ?? FRONT;
  const order = [...side.lines.keys()].sort((a, b) => rank(a) - rank(b));
  const places = inverse(Int32Array.from(order), order.length);
  const matches = Int32Array.from(inOrder, (line) =>
    isIn(side, line) ? (places[side.matches[line] as number] as number) : -1,
  );
  return { lines: order.map((at) => side.lines[at] as number), matches };
}

function isIn({ matches }: Side, line: number): boolean {
  return (matches[line] as number) >= 0;
}

/** For lines of the base which one they follow in a side, of those that count. */
function followed(side: Side, counts: (line: number) => boolean): Int32Array {
  const found = new Int32Array(side.matches.length).fill(FRONT);
  let last = FRONT;
  for (const line of inverse(side.matches, side.lines.length)) {
    if (line < 0) continue;
    found[line] = last;
    if (counts(line)) last = line;
  }
  return found;
}
