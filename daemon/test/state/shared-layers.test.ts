import { type BranchName, MAIN } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { op } from "./harness.ts";
import { DAY, newHome, openHome, put } from "./retention-harness.ts";

test("a branch stores all of its nodes, though another one of the same origin stored some and was collected", async () => {
  const home = newHome();
  const engine = await openHome(home, { states: "1d" });
  const [base, one, two] = ["base", "one", "two"] as [BranchName, BranchName, BranchName];
  const ops = Array.from({ length: 1100 }, (_, i) => op(`/k/${1000 + i}`, `${i}`));
  const { state: stored } = await engine.write({ space: "kv", kind: "kv.batch", branch: MAIN, ops });
  await engine.fork(base, stored);
  const origin = await put(engine, "/k/1000", "changed");
  // Both go on from the same state in memory.
  await engine.fork(one, origin);
  await engine.fork(two, origin);
  for (let i = 0; i < 64; i++) await put(engine, `/k/${2090 + (i % 8)}`, `one ${i}`, one);
  await put(engine, "/k/2099", "two", two);
  await engine.deleteBranch(one);
  home.clock.tick(2 * DAY);
  await engine.retention.collect(true);
  for (let i = 0; i < 64; i++) await put(engine, `/k/${2090 + (i % 8)}`, `two ${i}`, two);
  expect((await engine.verify()).damage).toEqual([]);
  await engine.close();
});
