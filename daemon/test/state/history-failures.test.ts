import { expect, test } from "vitest";
import { COMMITS, covered, hashOf, MOST, opened } from "./history-lines.ts";

// What becomes of the history index when commits can't be read: a hole must not stay, as nobody would look there again.

const HEAD = COMMITS - 1;

/** The first commit of a segment, in the middle of one, and the oldest. */
const PLACES = [HEAD - MOST * 50, HEAD - MOST * 50 - 2, 0];

test.for(PLACES)("what a build could not read the next one adds: commit %i", async (place) => {
  const { segments, lost, index, build } = opened();
  lost.add(hashOf(place));
  await expect(build(HEAD)).rejects.toThrow("is away");
  expect(segments.rows).toBeGreaterThan(32);
  expect(covered(index, HEAD)).toBeLessThan(COMMITS);
  lost.clear();
  await build(HEAD);
  expect(covered(index, HEAD)).toBe(COMMITS);
  await index.close();
});

test.for(PLACES)("and so does the next process: commit %i", async (place) => {
  const { segments, lost, index, build } = opened();
  lost.add(hashOf(place));
  await expect(build(HEAD)).rejects.toThrow("is away");
  await index.close();
  const next = opened({ segments });
  await next.build(HEAD);
  expect(covered(next.index, HEAD)).toBe(COMMITS);
  await next.index.close();
});

test("what can't be read keeps nothing else from being added, and is told once", async () => {
  const { lost, index, build } = opened();
  const other = COMMITS + 100;
  lost.add(hashOf(HEAD));
  index.catchUp("other", hashOf(other));
  await expect(build(HEAD)).rejects.toThrow("is away");
  expect(covered(index, other)).toBe(101);
  await build(other + MOST);
  expect(covered(index, other + MOST)).toBe(101 + MOST);
  lost.clear();
  await build(other + MOST);
  expect(covered(index, HEAD)).toBe(COMMITS);
  await index.close();
});
