/** More edits than this between two middles, and nothing of them is matched: the work stays bounded. */
const MOST_EDITS = 1024;

/** For each item of a base its index in a side, -1 for none. */
export type Matches = Int32Array;

/**
 * Which items of a base a side still has, in order: a longest common subsequence. Items are equal when
 * their numbers are. Which one of several is taken decides what merged documents look like, byte for
 * byte: docs/formats.md says it, and it must not change.
 *
 * What both begin with is matched, then what the rests end with. Of the middles, only items that occur
 * in both go into Myers' greedy search ("An O(ND) Difference Algorithm and Its Variations", 1986).
 */
export function align(base: readonly number[], side: readonly number[]): Matches {
  const matches = new Int32Array(base.length).fill(-1);
  let start = 0;
  while (start < base.length && start < side.length && base[start] === side[start]) matches[start] = start++;
  let [baseEnd, sideEnd] = [base.length, side.length];
  while (baseEnd > start && sideEnd > start && base[baseEnd - 1] === side[sideEnd - 1]) matches[--baseEnd] = --sideEnd;

  const common = (items: readonly number[], end: number, others: readonly number[], othersEnd: number): number[] => {
    const there = new Set(others.slice(start, othersEnd));
    const found: number[] = [];
    for (let i = start; i < end; i++) if (there.has(items[i] as number)) found.push(i);
    return found;
  };
  const left = common(base, baseEnd, side, sideEnd);
  const right = common(side, sideEnd, base, baseEnd);
  const pairs = search(
    left.map((i) => base[i] as number),
    right.map((i) => side[i] as number),
  );
  for (const [i, j] of pairs) matches[left[i] as number] = right[j] as number;
  return matches;
}

/** Pairs of equal items on the path with the fewest edits; none, when that is over the limit. */
function search(a: readonly number[], b: readonly number[]): [number, number][] {
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const offset = most + 1;
  // furthest[k + offset]: how far into a the search came on the diagonal k = x - y.
  const furthest = new Int32Array(2 * offset + 1);
  const steps: Int32Array[] = [];
  for (let d = 0; d <= most; d++) {
    steps.push(furthest.slice(offset - d, offset + d + 1));
    for (let k = -d; k <= d; k += 2) {
      const at = k + offset;
      const inserts = k === -d || (k !== d && (furthest[at - 1] as number) < (furthest[at + 1] as number));
      let x = inserts ? (furthest[at + 1] as number) : (furthest[at - 1] as number) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      furthest[at] = x;
      if (x >= a.length && x - k >= b.length) return walkBack(a.length, b.length, steps);
    }
  }
  return [];
}

/** The way that the search came, from its end. `steps[d]` has the diagonals -d to d as they were before step d. */
function walkBack(aLength: number, bLength: number, steps: readonly Int32Array[]): [number, number][] {
  const pairs: [number, number][] = [];
  let [x, y] = [aLength, bLength];
  for (let d = steps.length - 1; d >= 0; d--) {
    const before = steps[d] as Int32Array;
    const k = x - y;
    const inserts = k === -d || (k !== d && (before[k - 1 + d] as number) < (before[k + 1 + d] as number));
    const fromX = d === 0 ? 0 : (before[(inserts ? k + 1 : k - 1) + d] as number);
    const fromY = d === 0 ? 0 : fromX - (inserts ? k + 1 : k - 1);
    const [afterX, afterY] = d === 0 ? [0, 0] : inserts ? [fromX, fromY + 1] : [fromX + 1, fromY];
    while (x > afterX && y > afterY) pairs.push([--x, --y]);
    [x, y] = [fromX, fromY];
  }
  return pairs;
}
