import { VlinderError } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { settled } from "./fake-clock.ts";
import { A, B, type Ground, newGround, waitOf } from "./ground.ts";

const away = new VlinderError("unavailable", "the bucket is away", { remedy: "mount it" });
const denied = new VlinderError("denied", "the token is not good", { remedy: "make another one" });
const limited = new VlinderError("unavailable", "too many", { details: { retryAfter: 90_000 } });
const bad = new VlinderError("unavailable", "a pack is bad");

const lockOf = async ({ schedule }: Ground, i = 0) => (await schedule.status()).agents[i]?.lock;
const classes = ({ news }: Ground) => news.map(({ agent, lock }) => `${agent} ${lock?.class ?? "open"}`);

describe("what time may mend", () => {
  test("is tried again by the clock, with growing waits, 5 minutes at most, until it is pushed", async () => {
    const ground = await newGround();
    ground.clock.chance = 1;
    ground.sync.thrown = away;
    ground.schedule.turnEnded(A);
    await ground.clock.pass(1_400_000);
    // 2, 4, 8 … 256, 300, 300, …
    const times = [0, 2, 6, 14, 30, 62, 126, 254, 510, 810, 1110];
    expect(ground.sync.calls).toEqual(times.map((time) => `push a at ${time} s`));
    ground.sync.thrown = null;
    await ground.clock.pass(100_000);
    expect(ground.sync.calls.at(-1)).toBe("push a at 1410 s");
    expect(await lockOf(ground)).toBe(null);
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toHaveLength(times.length + 1);
  });

  test("has jitter: half of the wait at least", async () => {
    const ground = await newGround();
    ground.clock.chance = 0;
    ground.sync.thrown = away;
    ground.schedule.turnEnded(A);
    await ground.clock.pass(10_000);
    expect(ground.sync.calls).toEqual([0, 1, 3, 7].map((time) => `push a at ${time} s`));
  });

  test("is not tried before the service said, and no sooner by a turn", async () => {
    const ground = await newGround();
    ground.clock.chance = 0;
    ground.sync.errors.set("push a", limited);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(80_000);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(9_000);
    expect(ground.sync.calls).toEqual(["push a at 0 s"]);
    ground.sync.errors.clear();
    await ground.clock.pass(2_000);
    expect(ground.sync.calls[1]).toBe("push a at 90 s");
  });

  test("is tried again though a timer comes a little too soon", async () => {
    const ground = await newGround();
    ground.clock.early = 0.5;
    ground.sync.thrown = away;
    await waitOf(ground);
    ground.schedule.turnEnded(A);
    ground.sync.thrown = null;
    await ground.clock.pass(10_000);
    expect(ground.sync.calls.slice(1).map((call) => call.slice(0, 6))).toEqual(["pull a", "push a"]);
  });

  test("of one agent does not keep the other", async () => {
    const ground = await newGround();
    ground.sync.errors.set("push a", away);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(100);
    ground.schedule.turnEnded(B);
    await ground.clock.pass(100);
    expect(ground.sync.calls).toEqual(["push a at 0 s", "push b at 0.1 s"]);
    expect([(await lockOf(ground))?.class, await lockOf(ground, 1)]).toEqual(["retry", null]);
  });

  test("of a pull is tried again without a turn, for all agents together", async () => {
    const ground = await newGround();
    ground.clock.chance = 1;
    ground.sync.thrown = away;
    await Promise.all([waitOf(ground), waitOf(ground, B)]);
    ground.sync.thrown = null;
    await ground.clock.pass(10_000);
    expect(ground.sync.calls).toEqual(["pull a at 0 s", "pull b at 0 s", "pull a b at 2 s"]);
    expect(classes(ground)).toEqual(["a retry", "b retry", "a open", "b open"]);
  });

  test("keeps pushes and pulls alike; a person who tries meanwhile makes no wait longer", async () => {
    const ground = await newGround();
    ground.clock.chance = 1;
    ground.sync.thrown = away;
    await waitOf(ground);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(1_000);
    for (let i = 0; i < 3; i++) await expect(ground.schedule.push(A)).rejects.toThrow();
    await ground.clock.pass(2_000);
    // Whichever comes first: the other then has to wait with it.
    expect(ground.sync.calls.map((call) => call.slice(-3))).toEqual(["0 s", "1 s", "1 s", "1 s", "2 s"]);
    ground.sync.thrown = null;
    await ground.clock.pass(3_500);
    expect(ground.sync.calls.slice(5).toSorted()).toEqual(["pull a at 6 s", "push a at 6 s"]);
    expect(classes(ground)).toEqual(["a retry", "a open"]);
  });

  test("is over for all when a person's push goes well: turns pull again, and what is due is pushed", async () => {
    const ground = await newGround();
    ground.clock.chance = 1;
    ground.sync.thrown = away;
    await waitOf(ground);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(500);
    expect(ground.schedule.beforeTurn(B)).toBe(null);
    ground.sync.thrown = null;
    await ground.schedule.push(B);
    expect(ground.schedule.beforeTurn(B)).not.toBe(null);
    await ground.clock.pass(0);
    expect(ground.sync.calls.slice(1)).toEqual([
      "push b at 0.5 s",
      "pull b at 0.5 s",
      "push a at 0.5 s",
      "pull a at 0.5 s",
    ]);
  });

  test("stays for one agent though the bucket answers: after a quarter of an hour it needs a person", async () => {
    const ground = await newGround();
    ground.clock.chance = 1;
    ground.sync.errors.set("pull a", bad);
    await waitOf(ground);
    await ground.clock.pass(14 * 60_000);
    expect(await lockOf(ground)).toMatchObject({ class: "retry" });
    await ground.clock.pass(10 * 60_000);
    expect(await lockOf(ground)).toMatchObject({ class: "person", next: null });
    const { length } = ground.sync.calls;
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toHaveLength(length);
    expect(classes(ground)).toEqual(["a retry", "a person"]);
  });
});

describe("what needs a person", () => {
  test("is not tried by the clock; after a turn or a write it is, once a minute at most", async () => {
    const ground = await newGround();
    ground.sync.errors.set("push a", denied);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toEqual(["push a at 0 s"]);
    for (let i = 0; i < 119; i++) {
      ground.schedule.turnEnded(A);
      await ground.clock.pass(1_000);
    }
    expect(ground.sync.calls.slice(1)).toEqual(["push a at 3600 s", "push a at 3660 s"]);
  });

  test("is tried at once when the configuration changed, and when a person asks", async () => {
    const ground = await newGround();
    ground.sync.owing.add(A);
    ground.sync.errors.set("push a", denied);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(1_000);
    ground.schedule.changed();
    await ground.clock.pass(1_000);
    expect(ground.sync.calls).toEqual(["push a at 0 s", "push a at 1 s"]);
    ground.sync.errors.clear();
    await ground.schedule.push(A);
    await settled();
    expect(classes(ground)).toEqual(["a person", "a open"]);
  });

  test("of a pull: turns begin at once meanwhile", async () => {
    const ground = await newGround();
    ground.sync.thrown = denied;
    await waitOf(ground);
    await ground.clock.pass(59_000);
    expect(ground.schedule.beforeTurn(A)).toBe(null);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
    ground.sync.thrown = null;
    ground.schedule.changed();
    await settled();
    expect(ground.sync.calls[1]).toBe("pull a at 59 s");
    expect(classes(ground)).toEqual(["a person", "a open"]);
  });
});

describe("the lock", () => {
  test("is said when it goes on and off, with its class and why, and not with each try", async () => {
    const ground = await newGround({}, ({ sync }) => sync.owing.add(A));
    await ground.clock.pass(0);
    ground.sync.owing.add(A);
    ground.sync.thrown = away;
    ground.schedule.turnEnded(A);
    await ground.clock.pass(60_000);
    expect(ground.news).toMatchObject([
      { agent: A, lock: { class: "retry", since: "2026-11-26T00:00:00.000Z" }, error: { code: "unavailable" } },
    ]);
    expect(ground.news[0]?.lock?.next).toMatch(/^2026-11-26T00:00:0[12]/);
    expect(await ground.schedule.owed(A)).toMatchObject({
      owed: { commits: 1 },
      lock: { class: "retry", since: "2026-11-26T00:00:00.000Z" },
      error: { details: { remedy: "mount it" } },
    });
    ground.sync.thrown = denied;
    await ground.clock.pass(60_000);
    ground.sync.thrown = null;
    await ground.schedule.push(undefined);
    await settled();
    expect(classes(ground)).toEqual(["a retry", "a person", "a open"]);
    expect(ground.log).toHaveLength(3);
    expect(ground.log[0]).toContain("the bucket is away");
    expect(await ground.schedule.owed(A)).toBe(null);
  });

  test("stays on until each operation that failed goes well", async () => {
    const ground = await newGround();
    ground.sync.errors.set("pull a", bad).set("push a", away);
    ground.schedule.turnEnded(A);
    await waitOf(ground);
    await ground.clock.pass(10);
    ground.sync.errors.delete("push a");
    await ground.schedule.push(A);
    expect(await lockOf(ground)).toMatchObject({ class: "retry" });
    ground.sync.errors.clear();
    await ground.schedule.pull(A);
    expect(await lockOf(ground)).toBe(null);
    await settled();
    expect(classes(ground)).toEqual(["a retry", "a open"]);
  });

  test("is on while the bucket does not answer at all, and off when it does", async () => {
    const ground = await newGround();
    const { promise, resolve } = Promise.withResolvers<void>();
    ground.sync.gate = promise;
    ground.schedule.turnEnded(A);
    for (let i = 0; i < 2; i++) {
      await ground.clock.pass(299_000);
      expect(await lockOf(ground)).toBe(null);
      ground.sync.progress?.({ what: "pushing", done: i, total: null, unit: "objects" });
    }
    await ground.clock.pass(300_000);
    expect(ground.news).toMatchObject([{ agent: A, lock: { class: "retry" }, error: { code: "timeout" } }]);
    resolve();
    await ground.clock.pass(600_000);
    expect(classes(ground)).toEqual(["a retry", "a open"]);
    expect(ground.sync.calls).toEqual(["push a at 0 s"]);
  });

  test("is on after a restart, since when it was, and is not said again", async () => {
    const since = "2026-11-20T00:00:00.000Z";
    const ground = await newGround({}, ({ sync, agents }) => {
      agents.pop();
      sync.persisted = { ...away.toBody(), details: { since, operation: "push" } };
      sync.owing.add(A);
      sync.thrown = away;
    });
    await ground.clock.pass(1_000);
    expect(await lockOf(ground)).toMatchObject({ class: "retry", since });
    expect(ground.news).toEqual([]);
    ground.sync.thrown = null;
    await ground.clock.pass(5_000);
    expect(classes(ground)).toEqual(["a open"]);
  });

  test("of a pull that failed before the restart is tried again with the start", async () => {
    const ground = await newGround({}, ({ sync, agents }) => {
      agents.pop();
      sync.persisted = { ...denied.toBody(), details: { since: "2026-11-20T00:00:00.000Z", operation: "pull" } };
    });
    await ground.clock.pass(0);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
    expect(classes(ground)).toEqual(["a open"]);
  });

  test("is not put on by a mistake of who asks", async () => {
    const ground = await newGround();
    ground.sync.thrown = new VlinderError("not_registered", "no such agent");
    await expect(ground.schedule.push("nobody" as typeof A)).rejects.toThrow("no such agent");
    expect(ground.schedule.beforeTurn(A)).not.toBe(null);
    await settled();
    ground.news.length = 0;
    ground.sync.bucket = null;
    await expect(ground.schedule.pull(undefined)).rejects.toThrow();
    expect(ground.news).toEqual([]);
  });

  test("what was done is counted", async () => {
    const ground = await newGround();
    await ground.schedule.pull(undefined);
    ground.sync.errors.set("push a", denied);
    await ground.schedule.push(undefined);
    ground.sync.thrown = away;
    await expect(ground.schedule.push(undefined)).rejects.toThrow();
    const { pushes, pulls } = (await ground.schedule.status()).metrics;
    expect(pulls).toEqual({ done: 2, failed: { retry: 0, person: 0 }, bytes: 200, last: "2026-11-26T00:00:00.000Z" });
    expect(pushes).toMatchObject({ done: 1, failed: { retry: 1, person: 2 }, bytes: 100 });
  });
});

describe("at the start and the end", () => {
  test("what is owed is pushed at the start, but of those that are synced by hand", async () => {
    const ground = await newGround({}, ({ sync, when }) => {
      sync.owing.add(A).add(B);
      when.set(B, "manual");
    });
    await ground.clock.pass(0);
    expect(ground.sync.calls).toEqual(["push a at 0 s"]);
  });

  test("an agent that comes back is pushed, too", async () => {
    const ground = await newGround();
    ground.sync.owing.add(A).add(B);
    await ground.schedule.opened(B);
    await ground.clock.pass(0);
    expect(ground.sync.calls).toEqual(["push b at 0 s"]);
  });

  test("a stop pushes what is owed, and nothing after it", async () => {
    const ground = await newGround({ quiet: 60_000 });
    ground.sync.owing.add(A);
    ground.schedule.moved(A);
    await ground.schedule.stop();
    expect(ground.sync.calls).toEqual(["push a at 0 s"]);
    ground.schedule.turnEnded(B);
    ground.schedule.moved(B);
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toHaveLength(1);
  });

  test("a stop waits for a push that runs, then pushes the rest; within its bound, or until it is told to hurry", async () => {
    for (const hurries of [false, true]) {
      const ground = await newGround({ stopPush: 3_000 });
      const { promise, resolve } = Promise.withResolvers<void>();
      ground.sync.gate = promise;
      ground.sync.owing.add(A).add(B);
      ground.schedule.turnEnded(A);
      await ground.clock.pass(1_000);
      const began = ground.clock.now();
      let took: number | null = null;
      void ground.schedule.stop().then(() => {
        took = ground.clock.now() - began;
      });
      await ground.clock.pass(1_000);
      expect(took).toBe(null);
      if (hurries) ground.schedule.hurry();
      await ground.clock.pass(5_000);
      expect(took).toBe(hurries ? 1_000 : 3_000);
      expect(ground.log.at(-1)).toContain("it stays owed");
      expect(ground.sync.calls).toEqual(["push a at 0 s"]);
      resolve();
    }
    const ground = await newGround();
    ground.sync.owing.add(A).add(B);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(0);
    await ground.schedule.stop();
    expect(ground.sync.calls).toEqual(["push a at 0 s", "push b at 0 s"]);
    expect(ground.log).toEqual([]);
  });

  test("a stop tries a bucket that was away once more, and not what needs a person", async () => {
    const ground = await newGround();
    ground.sync.owing.add(A).add(B);
    ground.sync.errors.set("push a", denied).set("push b", away);
    ground.schedule.turnEnded(A);
    ground.schedule.turnEnded(B);
    await ground.clock.pass(100);
    await ground.schedule.stop();
    expect(ground.sync.calls).toEqual(["push a b at 0 s", "push b at 0.1 s"]);
  });

  test("a stop ends what is tried again", async () => {
    const ground = await newGround();
    ground.sync.thrown = away;
    await waitOf(ground);
    await ground.schedule.stop();
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
  });

  test("a stop without a bucket, or before the start, is over at once", async () => {
    const ground = await newGround({}, ({ sync }) => {
      sync.bucket = null;
    });
    await ground.schedule.stop();
    await ground.schedule.stop();
    expect(ground.sync.calls).toEqual([]);
  });
});
