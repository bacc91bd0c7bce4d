import { copyFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type NatsConnection, type Subscription } from "nats";
import { beforeAll, expect, test } from "vitest";
import { newStage } from "./harness/stage.ts";
import type { TestDaemon } from "./harness/test-daemon.ts";
import { ask, openWire } from "./harness/wire.ts";

const stage = newStage();
let daemon: TestDaemon;
let alice: NatsConnection;
let bob: NatsConnection;

beforeAll(async () => {
  daemon = await stage.daemon();
  await stage.register(daemon, "alice");
  await stage.register(daemon, "bob");
  alice = await stage.wire(daemon, "alice");
  bob = await stage.wire(daemon, "bob");
  await ask(alice, "vlinder.v1.alice.kv.put", { key: "/secret", value: "alice's" });
});

/** What arrives, or that the server refused the subscription. */
async function overheard(connection: NatsConnection, subject: string, happening: () => Promise<unknown>) {
  const heard: string[] = [];
  let refused = false;
  const subscription: Subscription = connection.subscribe(subject, {
    callback: (error, message) => {
      if (error !== null) refused = true;
      else heard.push(message.subject);
    },
  });
  await connection.flush();
  await happening();
  await sleep(50);
  await connection.flush();
  subscription.unsubscribe();
  return { refused, heard };
}

const putAsAlice = () => ask(alice, "vlinder.v1.alice.kv.put", { key: "/more", value: "x" });

test("another agent's keys, vectors and timeline can't be asked for", async () => {
  for (const operation of ["kv.get", "kv.put", "vector.search", "timeline.log", "turn.begin", "run"]) {
    const asked = ask(bob, `vlinder.v1.alice.${operation}`, { key: "/secret", value: "bob's" }, 2_000);
    await expect(asked, operation).rejects.toMatchObject({ code: "PERMISSIONS_VIOLATION" });
  }
  expect((await ask(alice, "vlinder.v1.alice.kv.get", { key: "/secret" })).body).toMatchObject({ value: "alice's" });
});

test("what only the administrator may ask is refused", async () => {
  for (const subject of ["agents.list", "agents.remove", "daemon.drain", "sync.push"]) {
    const asked = ask(bob, `vlinder.admin.v1.${subject}`, {}, 2_000);
    await expect(asked, subject).rejects.toMatchObject({ code: "PERMISSIONS_VIOLATION" });
  }
});

test("another agent's events, inbox and requests are not heard; one's own are", async () => {
  const events = "vlinder.v1.alice.events.commit";
  expect(await overheard(alice, events, putAsAlice)).toEqual({ refused: false, heard: [events] });
  for (const subject of [
    events,
    "_INBOX.alice.>",
    "vlinder.v1.alice.kv.put",
    "vlinder.v1.*.events.>",
    "_INBOX.>",
    ">",
  ]) {
    expect(await overheard(bob, subject, putAsAlice), subject).toEqual({ refused: true, heard: [] });
  }
});

test("events and turns can't be forged, not even one's own", async () => {
  for (const [who, subject] of [
    [bob, "vlinder.v1.alice.events.commit"],
    [alice, "vlinder.v1.alice.events.commit"],
    [bob, "vlinder.v1.alice.invoke"],
    [bob, "_INBOX.alice.x"],
  ] as const) {
    const heard = await overheard(alice, subject, async () => who.publish(subject, "forged"));
    expect(heard.heard, subject).toEqual([]);
  }
});

test("the daemon answers to nobody else's inbox", async () => {
  const subject = "vlinder.v1.bob.kv.put";
  for (const reply of ["_INBOX.alice.x", "_INBOX.admin", "vlinder.v1.alice.kv.put", "vlinder.admin.v1.daemon.drain"]) {
    const { heard } = await overheard(await stage.wire(daemon), "vlinder.>", async () => {
      bob.publish(subject, JSON.stringify({ key: "/k", value: reply }), { reply });
      await bob.flush();
    });
    expect(heard, reply).not.toContain(reply);
    const { error } = await ask(bob, "vlinder.v1.bob.kv.get", { key: "/k" });
    expect(error?.code, reply).toBe("not_found");
  }
});

test("without credentials, and with those of a removed agent, there is no connection", async () => {
  await expect(connect({ servers: daemon.url, reconnect: false })).rejects.toMatchObject({
    code: "AUTHORIZATION_VIOLATION",
  });
  const { creds } = await stage.register(daemon, "carol");
  const carol = await openWire(daemon.url, creds, "carol");
  const kept = await stage.path("carol.creds");
  await copyFile(creds, kept);
  await (await stage.admin(daemon)).admin("agents.remove", { agent: "carol" });
  await carol.close();
  await expect(openWire(daemon.url, kept, "carol")).rejects.toMatchObject({ code: "AUTHORIZATION_VIOLATION" });
});
