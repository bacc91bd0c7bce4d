import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type StatusReply,
  type SyncAgentItem,
  type SyncOwed,
  type SyncStatusReply,
  VlinderError,
} from "@vlinder/protocol";
import { expect, onTestFinished, test } from "vitest";
import { checkBucket } from "../../src/cli/doctor/daemon.ts";
import { renderBlocks } from "../../src/cli/outcome.ts";
import { bucketText, lockedLines, syncErrorLines } from "../../src/cli/render/owed.ts";
import { ahead } from "../../src/cli/render/time.ts";

const in30 = (): string => new Date(Date.now() + 30_500).toISOString();
const before = (): string => new Date(Date.now() - 125_000).toISOString();
const away = new VlinderError("unavailable", "the bucket is away", { remedy: "mount it" }).toBody();
const denied = new VlinderError("denied", "the token is not good", { remedy: "make another one" }).toBody();
const owed = { commits: 3, bytes: 1200 };

function item(rest: Partial<SyncAgentItem>): SyncAgentItem {
  const none = { since: null, pushed: null, pulled: null, lock: null, error: null, notes: [], heads: [] };
  return { agent: "todo", when: "turn", owed: { commits: 0, bytes: 0 }, ...none, ...rest };
}

function status(bucket: string | null, agents: readonly SyncAgentItem[]): SyncStatusReply {
  const none = { done: 0, failed: { retry: 0, person: 0 }, bytes: 0, last: null };
  const metrics = { pushes: none, pulls: none, probes: { asked: 0, unchanged: 0 } };
  return { bucket, vault: null, device: "d", devices: [], agents, drill: null, metrics };
}

test("after a turn, a lock is one line, and nothing is said while sync is well", () => {
  const sync: SyncOwed = {
    owed,
    since: before(),
    lock: { class: "retry", since: before(), next: in30() },
    error: away,
  };
  expect(renderBlocks(lockedLines(sync), false)).toBe(
    "only here: 3 commits, 1.2 kB; sync stands still since 2 min ago; it is tried again in 30 s: the bucket is away (vlinder sync status)\n",
  );
  expect(lockedLines({ owed, since: before() })).toEqual([]);
  expect(lockedLines(undefined)).toEqual([]);
});

test("status says since when, what happens next, and what to do", () => {
  const retry = item({ lock: { class: "retry", since: before(), next: in30() }, error: away });
  const person = item({ agent: "b", lock: { class: "person", since: before(), next: null }, error: denied });
  const manual = item({ agent: "c", lock: { class: "retry", since: before(), next: null }, error: away });
  const text = renderBlocks(syncErrorLines(status("file:///b", [retry, person, manual, item({})])), false);
  expect(text).toContain("sync of todo stands still since 2 min ago; it is tried again in 30 s:\n");
  expect(text).toContain("sync of b stands still since 2 min ago; somebody has to do something:\n");
  expect(text).toContain("sync of c stands still since 2 min ago:\n");
  expect(text.match(/mount it|make another one/g)).toEqual(["mount it", "make another one", "mount it"]);
});

test("a bucket of config.toml that can't be used is said once, whatever number of agents waits for it", async () => {
  const lock = { class: "retry", since: before(), next: in30() } as const;
  const waiting = status("file:///b", [item({ lock, error: away }), item({ agent: "b", lock, error: away })]);
  const sync: SyncStatusReply = { ...waiting, joining: { lock, error: away } };
  const text = renderBlocks([bucketText(sync), ...syncErrorLines(sync)], false);
  expect(text).toContain("file:///b   not joined yet   owed: nothing");
  expect(text).toContain("the bucket of config.toml can't be used since 2 min ago; it is tried again in 30 s:\n");
  expect(text.match(/mount it/g)).toHaveLength(1);
  const [found] = await checkBucket({ home: "/none", sync: { ...sync, agents: [] } } as unknown as StatusReply);
  expect(found).toMatchObject({ check: "bucket", result: "failed", remedy: "mount it" });
  const first = { ...sync, joining: { lock: null, error: null } };
  expect((await checkBucket({ home: "/none", sync: first } as unknown as StatusReply))[0]).toMatchObject({
    result: "warning",
    detail: "file:///b is being joined",
  });
});

test("a time that has come is now", () => {
  expect([ahead(before()), ahead(in30())]).toEqual(["now", "in 30 s"]);
});

test("doctor names the bucket that can't be reached, the agents whose sync stands still, and the remedies", async () => {
  const home = await mkdtemp(join(tmpdir(), "vlinder-doctor-"));
  onTestFinished(() => rm(home, { recursive: true }));
  const broken = item({ owed, lock: { class: "person", since: before(), next: null }, error: denied });
  const sync = status(`file://${home}/nothing`, [broken, item({ agent: "well" })]);
  const found = await checkBucket({ home, sync } as StatusReply);
  expect(found).toMatchObject([
    { check: "bucket", result: "failed", remedy: expect.stringContaining("mount") },
    { check: "sync", result: "ok", detail: "1 agent well" },
    {
      check: "sync",
      result: "failed",
      detail: "todo: stands still since 2 min ago, 3 commits, 1.2 kB are only here: the token is not good",
      remedy: "make another one",
    },
  ]);
});
