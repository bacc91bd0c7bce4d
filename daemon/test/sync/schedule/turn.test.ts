import { VlinderError } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { settled } from "./fake-clock.ts";
import { A, B, newGround, waitOf } from "./ground.ts";

const away = new VlinderError("unavailable", "the bucket is away", { remedy: "mount it" });
const denied = new VlinderError("denied", "the token is not good");

describe("before a turn", () => {
  test("the agent is pulled, and the turn begins when it is", async () => {
    const ground = await newGround();
    expect(await waitOf(ground)).toBe(0);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
  });

  test("no bucket, another `when`, or not started: nothing, and at once", async () => {
    const none = await newGround({}, ({ sync }) => {
      sync.bucket = null;
    });
    expect(none.schedule.beforeTurn(A)).toBe(null);
    for (const when of ["manual", "interval"] as const) {
      expect((await newGround({ when })).schedule.beforeTurn(A)).toBe(null);
    }
    const own = await newGround({ when: "manual" }, ({ when }) => when.set(A, "turn"));
    expect([own.schedule.beforeTurn(A) === null, own.schedule.beforeTurn(B) === null]).toEqual([false, true]);
    await own.schedule.stop();
    expect(own.schedule.beforeTurn(A)).toBe(null);
  });

  test("a pull that takes long is waited for within the budget, goes on behind, and is not waited for again", async () => {
    const ground = await newGround();
    const { promise, resolve } = Promise.withResolvers<void>();
    ground.sync.gate = promise;
    expect(await waitOf(ground)).toBe(2_000);
    // It has had its time.
    expect(await waitOf(ground)).toBe(null);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
    resolve();
    await settled();
    expect(await waitOf(ground)).toBe(0);
    expect(ground.sync.calls).toEqual(["pull a at 0 s", "pull a at 2 s"]);
  });

  test("turns that begin together share a pull, also those that come when it runs", async () => {
    const ground = await newGround();
    const { promise, resolve } = Promise.withResolvers<void>();
    ground.sync.gate = promise;
    const first = Promise.all([ground.schedule.beforeTurn(A), ground.schedule.beforeTurn(A)]);
    await ground.clock.pass(500);
    const later = waitOf(ground);
    await settled();
    resolve();
    await Promise.all([first, later]);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
    expect(await later).toBeLessThan(1_500);
  });

  test("a bucket that has not changed is not listed, but every five minutes", async () => {
    const ground = await newGround({}, (one) => {
      one.revision = "r1";
    });
    for (let i = 0; i < 3; i++) await waitOf(ground);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
    ground.revision = "r2";
    await waitOf(ground);
    await waitOf(ground);
    expect(ground.sync.calls).toHaveLength(2);
    // Another agent has not seen it.
    await waitOf(ground, B);
    expect(ground.sync.calls[2]).toBe("pull b at 0 s");
    await ground.clock.pass(5 * 60_000);
    await waitOf(ground);
    expect(ground.sync.calls[3]).toBe("pull a at 300 s");
    expect((await ground.schedule.status()).metrics.probes).toEqual({ asked: 7, unchanged: 3 });
  });

  test("a pull that failed is no good pull, whatever the bucket is at", async () => {
    const ground = await newGround({}, (one) => {
      one.revision = "r1";
    });
    ground.sync.errors.set("pull a", denied);
    await waitOf(ground);
    ground.sync.errors.clear();
    await ground.clock.pass(60_000);
    await waitOf(ground);
    expect(ground.sync.calls).toEqual(["pull a at 0 s", "pull a at 60 s"]);
  });

  test("nor is it, when it failed, whatever was pulled before", async () => {
    const ground = await newGround({}, (one) => {
      one.revision = "r1";
    });
    await waitOf(ground);
    ground.revision = "r2";
    ground.sync.thrown = away;
    await waitOf(ground);
    ground.revision = "r1";
    ground.sync.thrown = null;
    await ground.clock.pass(2_000);
    expect(ground.sync.calls).toEqual(["pull a at 0 s", "pull a at 0 s", "pull a at 1.5 s"]);
    expect(ground.news.at(-1)).toMatchObject({ lock: null });
  });

  test("turns do not wait for a bucket that is known to be away until the backoff is over", async () => {
    const ground = await newGround();
    ground.sync.thrown = away;
    await waitOf(ground);
    expect(await waitOf(ground)).toBe(null);
    expect(await waitOf(ground, B)).toBe(null);
    expect(ground.sync.calls).toEqual(["pull a at 0 s"]);
  });
});

describe("what is written", () => {
  test("in a turn is pushed behind its end", async () => {
    const ground = await newGround();
    ground.schedule.moved(A);
    ground.schedule.turnEnded(A);
    expect(ground.sync.calls).toEqual([]);
    // The branch's move may be told after it.
    ground.schedule.moved(A);
    await ground.clock.pass(0);
    expect(ground.sync.calls).toEqual(["push a at 0 s"]);
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toHaveLength(1);
    expect(ground.news).toEqual([]);
  });

  test("outside of turns is pushed when it has been quiet, and all the same when it never is", async () => {
    const ground = await newGround();
    ground.schedule.moved(A);
    await ground.clock.pass(4_000);
    ground.schedule.moved(A);
    await ground.clock.pass(4_900);
    expect(ground.sync.calls).toEqual([]);
    await ground.clock.pass(100);
    expect(ground.sync.calls).toEqual(["push a at 9 s"]);
    for (let i = 0; i < 31; i++) {
      ground.schedule.moved(A);
      await ground.clock.pass(1_000);
    }
    expect(ground.sync.calls).toEqual(["push a at 9 s", "push a at 39 s"]);
  });

  test("by agents together is one push, and what comes while one runs is one more", async () => {
    const ground = await newGround();
    const { promise, resolve } = Promise.withResolvers<void>();
    ground.sync.gate = promise;
    ground.schedule.turnEnded(A);
    ground.schedule.turnEnded(B);
    await ground.clock.pass(1_000);
    for (let i = 0; i < 5; i++) ground.schedule.turnEnded(A);
    await ground.clock.pass(1_000);
    expect(ground.sync.calls).toEqual(["push a b at 0 s"]);
    resolve();
    await ground.clock.pass(1_000);
    expect(ground.sync.calls).toEqual(["push a b at 0 s", "push a at 2 s"]);
  });

  test("is pushed no more often than the distance says: none for a folder, 10 s for a service", async () => {
    for (const [bucket, distance, times] of [
      ["file:///b", null, [0, 1]],
      ["hf://buckets/me/b", null, [0, 10]],
      ["file:///b", 4_000, [0, 4]],
    ] as const) {
      const ground = await newGround({ pushDistance: distance }, ({ sync }) => {
        sync.bucket = bucket;
      });
      ground.schedule.turnEnded(A);
      await ground.clock.pass(1_000);
      ground.schedule.turnEnded(A);
      await ground.clock.pass(20_000);
      expect(ground.sync.calls).toEqual(times.map((time) => `push a at ${time} s`));
    }
  });

  test("with manual is pushed by nobody but a person", async () => {
    const ground = await newGround({ when: "manual" }, ({ sync }) => sync.owing.add(A));
    ground.schedule.moved(A);
    ground.schedule.turnEnded(A);
    ground.schedule.changed();
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toEqual([]);
    ground.sync.thrown = away;
    await expect(ground.schedule.push(undefined)).rejects.toThrow("away");
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toEqual(["push at 3600 s"]);
    expect((await ground.schedule.status()).agents[0]?.lock).toMatchObject({ class: "retry", next: null });
    await expect(ground.schedule.pull(undefined)).rejects.toThrow("away");
    await ground.clock.pass(3_600_000);
    expect(ground.sync.calls).toHaveLength(2);
    expect(ground.clock.waiting).toBe(1);
  });

  test("by an agent that was removed is forgotten", async () => {
    const ground = await newGround();
    ground.schedule.turnEnded(A);
    ground.schedule.turnEnded(B);
    ground.agents.splice(0, 1);
    ground.schedule.forget(A);
    await ground.clock.pass(60_000);
    expect(ground.sync.calls).toEqual(["push b at 0 s"]);
  });

  test("by an agent that can't be served any more does not keep the others, or the machine busy", async () => {
    const ground = await newGround();
    ground.schedule.turnEnded(A);
    ground.agents.splice(0, 1);
    await ground.clock.pass(60_000);
    expect(ground.sync.calls).toEqual([]);
    expect(ground.clock.waiting).toBe(1);
  });
});

describe("interval", () => {
  test("pulls and pushes every interval, with jitter, and no more", async () => {
    const ground = await newGround({ when: "interval" }, ({ when, sync }) => {
      when.set(B, "manual");
      sync.owing.add(A);
    });
    ground.clock.chance = 0;
    await ground.clock.pass(60_000);
    // What was owed before is pushed at the start.
    expect(ground.sync.calls).toEqual(["push a at 0 s", "pull a at 60 s"]);
    ground.sync.owing.add(A);
    ground.schedule.moved(A);
    ground.schedule.turnEnded(A);
    await ground.clock.pass(53_900);
    expect(ground.sync.calls).toHaveLength(2);
    await ground.clock.pass(200);
    expect(ground.sync.calls.slice(2)).toEqual(["pull a at 114 s", "push a at 114 s"]);
  });

  test("what a pull merged is pushed in the same round", async () => {
    const ground = await newGround({ when: "interval" });
    ground.schedule.moved(B);
    await ground.clock.pass(60_000);
    expect(ground.sync.calls).toEqual(["pull a b at 60 s", "push b at 60 s"]);
  });

  test("another interval holds from its reload on", async () => {
    const ground = await newGround({ when: "interval" });
    const { settings } = { settings: { when: "interval", interval: 10_000 } as const };
    const whole = { quiet: 1, pullBudget: 1, pushDistance: 1, stopPush: 1, ...settings };
    expect(ground.schedule.replace(whole)).toBe(true);
    expect(ground.schedule.replace({ ...whole })).toBe(false);
    await ground.clock.pass(10_000);
    expect(ground.sync.calls).toEqual(["pull a b at 10 s"]);
    await ground.clock.pass(50_000);
    expect(ground.sync.calls).toHaveLength(6);
  });
});
