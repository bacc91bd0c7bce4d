import { type AgentName, VlinderError } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { settled } from "./fake-clock.ts";
import { A, B, type Ground, newGround } from "./ground.ts";

// The bucket that config.toml of a new home names.

const away = new VlinderError("unavailable", "the Hub is away", { remedy: "wait" });
const denied = new VlinderError("denied", "there is no token", { remedy: "hf auth login" });

const refusing = (error: VlinderError) => (ground: Ground) => {
  ground.sync.isJoined = false;
  ground.sync.refused = error;
  ground.clock.chance = 1;
};
const classes = ({ news }: Ground) => news.map(({ agent, lock }) => `${agent} ${lock?.class ?? "open"}`);

test("what time may mend locks every agent, is tried again by the clock also where all is pushed by hand, and then goes on", async () => {
  const ground = await newGround({ when: "manual" }, refusing(away));
  expect(classes(ground)).toEqual(["a retry", "b retry"]);
  const { agents, joining } = await ground.schedule.status();
  expect(agents.map(({ lock, error }) => [lock?.class, error?.message])).toEqual([
    ["retry", away.message],
    ["retry", away.message],
  ]);
  expect(joining).toEqual({ lock: agents[0]?.lock, error: away.toBody() });
  expect(Date.parse(joining?.lock?.next ?? "") - ground.clock.now()).toBe(2_000);
  await ground.clock.pass(14_000);
  expect(ground.sync.calls).toEqual([0, 2, 6, 14].map((time) => `join at ${time} s`));
  ground.sync.refused = null;
  await ground.clock.pass(16_000);
  expect(classes(ground).slice(2)).toEqual(["a open", "b open"]);
  expect((await ground.schedule.status()).joining).toBeUndefined();
  await ground.clock.pass(600_000);
  expect(ground.sync.calls).toHaveLength(5);
});

test("what was written meanwhile is pushed as soon as it is joined", async () => {
  const ground = await newGround({}, (made) => {
    refusing(away)(made);
    made.sync.owing.add(A);
  });
  ground.sync.refused = null;
  await ground.clock.pass(2_000);
  expect(ground.sync.calls).toEqual(["join at 0 s", "join at 2 s", "push a at 2 s"]);
});

test("what needs a person is not tried by the clock, but by who asks, who is told why", async () => {
  const ground = await newGround({}, refusing(denied));
  expect(classes(ground)).toEqual(["a person", "b person"]);
  await ground.clock.pass(3_600_000);
  expect(ground.sync.calls).toHaveLength(1);
  await expect(ground.schedule.push(undefined)).rejects.toBe(denied);
  await expect(ground.schedule.pull(B)).rejects.toBe(denied);
  expect(ground.sync.calls).toHaveLength(3);
  const { metrics, joining } = await ground.schedule.status();
  expect(joining?.lock).toMatchObject({ class: "person", next: null });
  expect([metrics.pushes.failed.person, metrics.pulls.failed.person]).toEqual([2, 1]);
  ground.sync.refused = null;
  ground.schedule.changed();
  await settled();
  expect(classes(ground).slice(2)).toEqual(["a open", "b open"]);
});

test("an agent that comes later, and a home without agents, are told as well", async () => {
  const ground = await newGround({}, (made) => {
    refusing(denied)(made);
    made.agents.length = 0;
  });
  expect((await ground.schedule.status()).joining?.error).toEqual(denied.toBody());
  expect(ground.log).toEqual(["the bucket of config.toml can't be used yet: there is no token"]);
  const late = "late" as AgentName;
  ground.agents.push(late);
  ground.sync.owing.add(late);
  expect(await ground.schedule.owed(late)).toMatchObject({ lock: { class: "person" }, error: denied.toBody() });
  await settled();
  expect(classes(ground)).toEqual(["late person"]);
});

test("somebody names another bucket: it is used, and the lock is off", async () => {
  const ground = await newGround({}, refusing(denied));
  ground.sync.isJoined = true;
  ground.schedule.joined();
  await settled();
  expect(classes(ground).slice(2)).toEqual(["a open", "b open"]);
});

test("one that never answers keeps neither turns beyond their budget nor a stop, and is said", async () => {
  const never = new Promise<void>(() => {});
  const ground = await newGround({}, (made) => {
    made.sync.isJoined = false;
    made.sync.gate = never;
    made.sync.owing.add(A);
  });
  expect((await ground.schedule.status()).joining).toEqual({ lock: null, error: null });
  let begun = false;
  void ground.schedule.beforeTurn(A)?.then(() => (begun = true));
  await ground.clock.pass(2_000);
  expect(begun).toBe(true);
  await ground.clock.pass(300_000);
  expect(classes(ground)).toEqual(["a retry", "b retry"]);
  let stopped = false;
  void ground.schedule.stop().then(() => (stopped = true));
  await ground.clock.pass(5_000);
  expect(stopped).toBe(true);
  expect(ground.sync.calls).toEqual(["join at 0 s"]);
  expect(ground.probes).toBe(0);
});
