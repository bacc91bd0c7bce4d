import { spawnSync } from "node:child_process";
import { IS_LONG } from "../harness/long.ts";
import { beforeAll, expect, test } from "vitest";
import { BehindDaemon } from "../harness/providers/behind-daemon.ts";
import type { MakeFetch } from "../harness/providers/fetch-under-test.ts";
import { anthropicSuite } from "../harness/providers/suites/anthropic-suite.ts";
import { openaiSuite } from "../harness/providers/suites/openai-suite.ts";
import { sdkSuite } from "../harness/providers/suites/sdk-suite.ts";
import { newStage } from "../harness/stage.ts";

const stage = newStage();
const keys = new Set<string>();
let behind: BehindDaemon;

beforeAll(async () => {
  behind = await BehindDaemon.start(stage);
});

const ofTurn: MakeFetch = (server, key) => {
  keys.add(key);
  return behind.makeFetch(async (vlinder) => (await vlinder.begin()).fetch)(server, key);
};
const ofAgent: MakeFetch = (server, key) => behind.makeFetch(({ fetch }) => Promise.resolve(fetch))(server, key);

sdkSuite("with turn.fetch", ofTurn);
// The way from there on is the same: one protocol is enough, and both that have a client of their own in the long run.
anthropicSuite("with vlinder.fetch", ofAgent);
if (IS_LONG) openaiSuite("with vlinder.fetch", ofAgent);

test("after all of it no key is in the log or in a file of the home", async () => {
  const { daemon } = behind;
  keys.delete("");
  expect(keys.size).toBe(2);
  expect(daemon.logged(40)).toEqual([]);
  for (const key of keys) {
    expect(daemon.log.join("\n")).not.toContain(key);
    // 1: nothing found, and nothing went wrong.
    expect(spawnSync("grep", ["-r", "-l", "--", key, daemon.home])).toMatchObject({ status: 1 });
  }
});
