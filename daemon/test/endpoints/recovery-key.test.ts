import { expect, test } from "vitest";
import { type AdminContext, adminHandlers } from "../../src/endpoints/admin.ts";
import type { AdminHandlers } from "../../src/endpoints/service.ts";

/** What a handler with this broker makes of requests; what gets through is written down. */
function handlersWith(own: boolean): { handlers: AdminHandlers; through: string[] } {
  const through: string[] = [];
  const note = (what: string) => () => through.push(what);
  const sync = { init: note("init"), vault: { distrust: note("distrust"), rotate: note("rotate"), add: note("add") } };
  const context = {
    core: { registry: null, sync, schedule: { changed: () => undefined } },
    broker: { own },
    processes: null,
  };
  return { handlers: adminHandlers(context as unknown as AdminContext), through };
}

const WITH_KEY = [
  ["sync.init", { uri: "file:///x", encrypt: true }],
  ["sync.init", { uri: "file:///x", key: "k" }],
  ["vault.distrust", { device: "aaaa", key: "k" }],
  ["vault.rotate", {}],
] as const;
const WITHOUT = [
  ["sync.init", { uri: "file:///x", vault: "0".repeat(32) }],
  ["vault.distrust", { device: "aaaa" }],
  ["vault.add", { request: "r" }],
] as const;

async function send(handlers: AdminHandlers, operation: string, request: object): Promise<unknown> {
  const handle = handlers[operation as keyof AdminHandlers] as (call: { request: object }) => unknown;
  return handle({ request });
}

test("a recovery key goes over the daemon's own NATS server, and over no other", async () => {
  const [ours, theirs] = [handlersWith(true), handlersWith(false)];
  for (const [operation, request] of WITH_KEY) {
    await send(ours.handlers, operation, request);
    await expect(send(theirs.handlers, operation, request)).rejects.toMatchObject({
      code: "denied",
      remedy: expect.stringContaining("vlinder stop"),
    });
  }
  expect([ours.through.length, theirs.through]).toEqual([WITH_KEY.length, []]);
  for (const [operation, request] of WITHOUT) await send(theirs.handlers, operation, request);
  expect(theirs.through).toEqual(["init", "distrust", "add"]);
});
