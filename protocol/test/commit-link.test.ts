import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type AgentName,
  type Change,
  type Commit,
  type DeviceId,
  decodeCommit,
  encodeCommit,
  type Hash,
  type Key,
  keyInCommit,
  linkPast,
  parseKey,
  sha256,
} from "../src/index.ts";

const hash = fc.integer({ min: 0, max: 1_000_000 }).map((n) => sha256(`${n}`));
/** Texts that look like parts of a commit. */
const sly = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.constantFrom(
    '"parents":["',
    `","snapshot":"${sha256("x")}"`,
    '"changes":"',
    "\\",
    '\\"',
    "é",
    "\u{1f600}",
    ',"v":1}',
  ),
);
const key = fc
  .array(sly, { minLength: 1, maxLength: 3 })
  .map((parts) => `/${parts.join("")}`)
  .filter((text) => isKey(text))
  .map((text) => parseKey(text));

function isKey(text: string): boolean {
  try {
    parseKey(text);
    return true;
  } catch {
    return false;
  }
}

const commit: fc.Arbitrary<Commit> = fc
  .record({
    keys: fc.uniqueArray(key, { maxLength: 4 }),
    listed: fc.boolean(),
    adopts: fc.boolean(),
    parents: fc.uniqueArray(hash, { maxLength: 2 }),
    snapshot: hash,
    info: fc.option(
      fc.dictionary(fc.constantFrom("parents", "snapshot", "changes", "v", "x"), fc.oneof(sly, fc.array(sly))),
    ),
    session: fc.option(sly, { nil: undefined }),
    turn: fc.option(sly, { nil: undefined }),
  })
  .map(({ keys, listed, adopts, parents, snapshot, info, session, turn }): Commit => {
    const kv = keys.sort().map((one): Change => [one, sha256(one), 3]);
    return {
      v: 1,
      agent: "todo" as AgentName,
      branch: sha256("branch"),
      device: "a".repeat(32) as DeviceId,
      event: { kind: "kv.put", ...(info === null ? {} : { info: info as never }) },
      parents,
      snapshot,
      time: "2026-11-20T21:40:00.123Z",
      ...(kv.length > 0 && { changes: listed ? sha256("list") : { kv } }),
      ...(adopts && { adopts: sha256("adopted") }),
      ...(session !== undefined && { session }),
      ...(turn !== undefined && { turn }),
    };
  });

/** What the whole commit says. */
function expected(bytes: Uint8Array, wanted: Key): { parent: Hash; snapshot: Hash } | null {
  const { parents, snapshot, changes = {}, adopts } = decodeCommit(bytes);
  const [parent] = parents;
  if (parent === undefined || adopts !== undefined || typeof changes === "string") return null;
  return (changes.kv ?? []).some(([changed]) => changed === wanted) ? null : { parent, snapshot };
}

test("a link is what the whole commit says, or all of it is to be read", () => {
  let links = 0;
  fc.assert(
    fc.property(commit, key, (made, other) => {
      let bytes: Buffer;
      try {
        bytes = Buffer.from(encodeCommit(made), "utf8");
        decodeCommit(bytes);
      } catch {
        return; // not a commit that anybody could write
      }
      const own = typeof made.changes === "object" ? (made.changes.kv ?? []).map(([one]) => one) : [];
      for (const wanted of [other, ...own]) {
        const link = linkPast(bytes, keyInCommit(wanted));
        if (link === null) continue;
        links++;
        expect(link).toEqual(expected(bytes, wanted));
      }
    }),
    { numRuns: 3000 },
  );
  // Most plain commits are told at a glance.
  expect(links).toBeGreaterThan(300);
});

test("a plain put of another key is told at a glance", () => {
  const made: Commit = {
    v: 1,
    agent: "todo" as AgentName,
    branch: sha256("branch"),
    device: "a".repeat(32) as DeviceId,
    event: { kind: "kv.put" },
    parents: [sha256("parent")],
    snapshot: sha256("snapshot"),
    time: "2026-11-20T21:40:00.123Z",
    changes: { kv: [[parseKey("/a"), sha256("a"), 1]] },
  };
  const bytes = Buffer.from(encodeCommit(made), "utf8");
  expect(linkPast(bytes, keyInCommit(parseKey("/b")))).toEqual({
    parent: sha256("parent"),
    snapshot: sha256("snapshot"),
  });
  expect(linkPast(bytes, keyInCommit(parseKey("/a")))).toBeNull();
});
