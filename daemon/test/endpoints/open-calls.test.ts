import { LIMITS, parseAgentName, VlinderError } from "@vlinder/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CallWindow } from "../../src/endpoints/call-window.ts";
import { OpenCalls } from "../../src/endpoints/open-calls.ts";
import { errorOf } from "../registry/folders.ts";

const [a, b] = [parseAgentName("a"), parseAgentName("b")];

describe("the window", () => {
  let window: CallWindow;
  let reasons: VlinderError[];
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    reasons = [];
    window = new CallWindow((reason) => reasons.push(reason));
  });
  afterEach(() => {
    window.close();
    vi.useRealTimers();
  });

  const quarter = LIMITS.callWindow / 4;

  /** Whether more may be sent, once everything that can go on has. */
  async function isOpen(sent: void | Promise<void>): Promise<boolean> {
    let open = sent === undefined;
    void sent?.then(() => (open = true));
    await Promise.resolve();
    await Promise.resolve();
    return open;
  }

  test("lets so much go ahead, and more when the oldest parts were taken", async () => {
    void window.sent(0);
    for (let i = 0; i < 3; i++) expect(await isOpen(window.sent(quarter))).toBe(true);
    const full = window.sent(quarter);
    expect(await isOpen(full)).toBe(false);
    window.acknowledge(1);
    expect(await isOpen(full)).toBe(false);
    window.acknowledge(2);
    expect(await isOpen(full)).toBe(true);
    // What was taken stays so, and nobody has taken what was not sent.
    window.acknowledge(0);
    window.acknowledge(1_000_000);
    for (let i = 0; i < 3; i++) expect(await isOpen(window.sent(quarter))).toBe(true);
    expect(await isOpen(window.sent(quarter))).toBe(false);
  });

  test("ends the call when nobody is heard, and not while somebody is", () => {
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(LIMITS.callIdle / 2);
      window.acknowledge(0);
    }
    expect(reasons).toEqual([]);
    vi.advanceTimersByTime(LIMITS.callIdle + 6_000);
    expect(reasons[0]).toMatchObject({ code: "timeout", retryable: false });
  });

  test("ends the call when somebody is there who takes nothing", () => {
    void window.sent(LIMITS.callWindow);
    for (let i = 0; i < 60 && reasons.length === 0; i++) {
      vi.advanceTimersByTime(LIMITS.callIdle / 2);
      window.acknowledge(0);
    }
    expect(reasons[0]?.message).toContain("nobody took");
  });

  test("holds nobody up once it is closed", async () => {
    const full = window.sent(LIMITS.callWindow);
    window.close();
    expect(await isOpen(full)).toBe(true);
  });
});

describe("calls under way", () => {
  const plain = { name: undefined, streamed: false, outer: null };
  const never = (signal: AbortSignal): Promise<never> =>
    new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));

  test("are so many for each agent, and one for each name", async () => {
    const calls = new OpenCalls();
    const open = Array.from({ length: LIMITS.calls }, (_, i) =>
      calls.run(a, { ...plain, name: `c-${i}` }, ({ signal }) => never(signal)),
    );
    expect(await errorOf(() => calls.run(a, plain, async () => "x"))).toMatchObject({
      code: "unavailable",
      retryable: true,
    });
    expect((await errorOf(() => calls.run(a, { ...plain, name: "c-0" }, async () => "x"))).code).toBe("conflict");
    expect(await calls.run(b, { ...plain, name: "c-0" }, async () => "another agent's")).toBe("another agent's");
    expect(calls.acknowledge(b, "c-0", 0, true)).toBe(false);
    expect(calls.acknowledge(a, "c-0", 0, true)).toBe(true);
    await expect(open[0]).rejects.toMatchObject({ message: "the call was broken off, as its caller asked" });
    expect(await calls.run(a, { ...plain, name: "c-0" }, async () => "again")).toBe("again");
    const rest = Promise.allSettled(open);
    await calls.close();
    for (const one of (await rest).slice(1))
      expect(one).toMatchObject({ status: "rejected", reason: { retryable: true } });
  });

  test("end with what they belong to", async () => {
    const calls = new OpenCalls();
    const turn = new AbortController();
    const over = new VlinderError("conflict", "the turn is over");
    const call = calls.run(a, { ...plain, outer: turn.signal }, ({ signal }) => never(signal));
    turn.abort(over);
    await expect(call).rejects.toBe(over);
    const late = calls.run(a, { ...plain, outer: turn.signal }, async ({ signal }) => signal.throwIfAborted());
    await expect(late).rejects.toBe(over);
  });
});
