import { type AgentName, type BranchItem, type BranchName, encodeBody, LIMITS, MAIN } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { Core } from "../../src/daemon-core.ts";
import { timelineHandlers } from "../../src/endpoints/timeline.ts";
import { open } from "../state/turns/turn-harness.ts";

test("more branches than one reply holds come in pages, in the order of their names, each once", async () => {
  const { engine } = await open();
  const names = Array.from({ length: 3100 }, (_, i) => `turn/${i}-`.padEnd(100, "x") as BranchName);
  const { head } = engine.branch(MAIN);
  await Promise.all(names.map((name) => engine.fork(name, head)));
  const core = { registry: { get: () => ({ engine }) } } as unknown as Core;
  const { "timeline.branches": branches } = timelineHandlers(core);
  const all: BranchItem[] = [];
  let pages = 0;
  const page = async (request: { after?: BranchName; limit?: number }): Promise<void> => {
    const call = { agent: "todo" as AgentName, request, encoding: "json" as const, progress: () => {}, part: () => {} };
    const reply = (await branches(call)) as { items: BranchItem[]; next: BranchName | null };
    expect(encodeBody(reply, "json").length).toBeLessThan(LIMITS.replyBytes);
    expect(reply.items.length).toBeLessThanOrEqual(request.limit ?? Number.POSITIVE_INFINITY);
    all.push(...reply.items);
    pages++;
    if (reply.next !== null) await page({ ...request, after: reply.next });
  };
  await page({});
  expect(pages).toBe(2);
  expect(all.map(({ name }) => name)).toEqual(["main", ...names].sort());
  all.length = 0;
  await page({ limit: 700 });
  expect(pages).toBe(2 + 5);
  expect(all.map(({ name }) => name)).toEqual(["main", ...names].sort());
});
