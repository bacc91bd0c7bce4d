import { type AgentName, encodeBody, LIMITS, MAIN, type SessionTurn } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { Core } from "../../src/daemon-core.ts";
import { turnHandlers } from "../../src/endpoints/turn.ts";
import type { StateEngine } from "../../src/state/engine.ts";
import { open } from "../state/turns/turn-harness.ts";

/** Written as six characters each in JSON, and three bytes each in UTF-8. */
const LONG = { control: "\u0001", letters: "€" };

async function asked(engine: StateEngine, request: object): Promise<readonly SessionTurn[]> {
  const core = { registry: { get: () => ({ engine }) } } as unknown as Core;
  const call = { agent: "todo" as AgentName, request, encoding: "json", progress: () => {}, part: () => {} };
  const reply = await turnHandlers(core)["session.get"](call as never);
  expect(encodeBody(reply, "json").length).toBeLessThan(LIMITS.replyBytes);
  return (reply as { items: SessionTurn[] }).items;
}

test.each(Object.entries(LONG))(
  "a session whose turns failed for long reasons (%s) fits in a reply",
  async (_what, one) => {
    const { engine, clock } = await open();
    const reason = one.repeat(LIMITS.reasonChars);
    const turns: string[] = [];
    for (let i = 0; i < 400; i++) {
      const { turn } = await engine.turns.begin({ branch: MAIN, session: "s" });
      await engine.turns.fail(turn, reason);
      turns.push(turn);
      clock.tick();
    }
    const items = await asked(engine, {
      session: "s",
      limit: LIMITS.page,
    });
    expect(items.length).toBeGreaterThan(20);
    expect(items.map(({ turn }) => turn)).toEqual(turns.slice(-items.length));
    expect(new Set(items.map((item) => item.reason))).toEqual(new Set([reason]));
  },
);
