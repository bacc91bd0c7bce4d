import { parseAgentName } from "@vlinder/protocol";
import { type NatsConnection, RequestStrategy } from "nats";
import { describe, expect, it } from "vitest";
import { DAEMON_INBOX, type Permissions, type Role, ROLES } from "../../src/broker/permissions.ts";
import { newBroker, newClient, newHome, reaches } from "./harness.ts";

interface Cast {
  readonly daemon: NatsConnection;
  readonly admin: NatsConnection;
  readonly ann: NatsConnection;
  readonly bob: NatsConnection;
}

async function cast(wider: Partial<Record<Role, Permissions>> = {}): Promise<Cast> {
  const broker = await newBroker(await newHome(), wider);
  const client = async (name: string) =>
    newClient(broker.url, await broker.agentCreds(parseAgentName(name)), `_INBOX.${name}`);
  return {
    daemon: broker.connection,
    admin: await newClient(broker.url, broker.adminCreds, "_INBOX.admin"),
    ann: await client("ann"),
    bob: await client("bob"),
  };
}

const agentAlso = (
  publish: string[],
  subscribe: string[],
  deny = ROLES.agent.publish.deny,
): Partial<Record<Role, Permissions>> => ({
  agent: {
    publish: { allow: [...ROLES.agent.publish.allow, ...publish], deny },
    subscribe: { allow: [...ROLES.agent.subscribe.allow, ...subscribe] },
  },
});

/** Whether the daemon, which here answers without looking, answers where ann tells it to. */
async function isMadeToPublish({ admin, ann, daemon }: Cast, reply: string): Promise<boolean> {
  let seen = false;
  const listener = admin.subscribe(reply, { callback: () => (seen = true) });
  const service = daemon.subscribe("vlinder.v1.*.kv.get", {
    callback: (_error, message) => void message.respond("evil"),
  });
  await admin.flush();
  await daemon.flush();
  ann.publish("vlinder.v1.ann.kv.get", "", { reply });
  for (const one of [ann, daemon, daemon, admin]) await one.flush();
  listener.unsubscribe();
  service.unsubscribe();
  return seen;
}

/** Each attack, and a permission with which it succeeds: so the test is known to see it. */
const ATTACKS: readonly {
  readonly name: string;
  readonly wider: Partial<Record<Role, Permissions>>;
  readonly attack: (cast: Cast) => Promise<boolean>;
}[] = [
  {
    name: "publishes on another agent's subjects",
    wider: agentAlso(["vlinder.v1.*.kv.>"], []),
    attack: ({ ann, daemon }) => reaches(ann, "vlinder.v1.bob.kv.put", daemon, "vlinder.v1.*.kv.put"),
  },
  {
    name: "publishes on the administrator's subjects",
    wider: agentAlso(["vlinder.admin.>"], []),
    attack: ({ ann, daemon }) => reaches(ann, "vlinder.admin.v1.agents.remove", daemon, "vlinder.admin.v1.>"),
  },
  {
    name: "publishes to another agent's inbox",
    wider: agentAlso(["_INBOX.>"], []),
    attack: ({ ann, bob }) => reaches(ann, "_INBOX.bob.1", bob, "_INBOX.bob.>"),
  },
  {
    name: "publishes to its own inbox, as if it were the daemon",
    wider: agentAlso(["_INBOX.>"], []),
    attack: ({ ann }) => reaches(ann, "_INBOX.ann.1", ann, "_INBOX.ann.>"),
  },
  {
    name: "reads another agent's inbox",
    wider: agentAlso([], ["_INBOX.>"]),
    attack: ({ ann, daemon }) => reaches(daemon, "_INBOX.bob.1", ann, "_INBOX.bob.>"),
  },
  {
    name: "reads all inboxes",
    wider: agentAlso([], ["_INBOX.>"]),
    attack: ({ ann, daemon }) => reaches(daemon, "_INBOX.bob.1", ann, "_INBOX.>"),
  },
  {
    name: "reads another agent's events",
    wider: agentAlso([], ["vlinder.v1.*.events.>"]),
    attack: ({ ann, daemon }) => reaches(daemon, "vlinder.v1.bob.events.commit", ann, "vlinder.v1.bob.events.>"),
  },
  {
    name: "reads another agent's requests",
    wider: agentAlso([], ["vlinder.v1.*.kv.>"]),
    attack: ({ ann, bob }) => reaches(bob, "vlinder.v1.bob.kv.put", ann, "vlinder.v1.bob.kv.put"),
  },
  {
    name: "answers in the daemon's place, from the same queue group's subject",
    wider: agentAlso([], ["vlinder.v1.ann.>"]),
    attack: ({ ann }) => reaches(ann, "vlinder.v1.ann.kv.get", ann, "vlinder.v1.ann.kv.get"),
  },
  {
    name: "reads everything",
    wider: agentAlso([], [">"]),
    attack: ({ bob, ann }) => reaches(bob, "vlinder.v1.bob.kv.put", ann, ">"),
  },
  {
    name: "takes another agent's turns",
    wider: agentAlso([], ["vlinder.v1.*.invoke"]),
    attack: ({ ann, daemon }) => reaches(daemon, "vlinder.v1.bob.invoke", ann, "vlinder.v1.bob.invoke"),
  },
  {
    name: "forges its own events",
    wider: agentAlso([], [], []),
    attack: ({ ann }) => reaches(ann, "vlinder.v1.ann.events.commit", ann, "vlinder.v1.ann.events.>"),
  },
  {
    name: "forges its own turns",
    wider: agentAlso([], [], []),
    attack: ({ ann }) => reaches(ann, "vlinder.v1.ann.invoke", ann, "vlinder.v1.ann.invoke"),
  },
  {
    name: "makes the daemon publish on another agent's subjects, by a reply subject",
    wider: { daemon: { ...ROLES.daemon, publish: { allow: [">"], deny: [] } } },
    attack: (cast) => isMadeToPublish(cast, "vlinder.v1.bob.kv.put"),
  },
  {
    name: "makes the daemon publish on the administrator's subjects, by a reply subject",
    wider: { daemon: { ...ROLES.daemon, publish: { allow: [">"], deny: [] } } },
    attack: (cast) => isMadeToPublish(cast, "vlinder.admin.v1.agents.remove"),
  },
  {
    name: "asks for the services of the server",
    wider: agentAlso(["$SRV.>"], []),
    attack: ({ ann, daemon }) => reaches(ann, "$SRV.PING", daemon, "$SRV.>"),
  },
];

describe("an agent", () => {
  it("is stopped by the server in every attack", async () => {
    const all = await cast();
    const succeeded: string[] = [];
    for (const { attack, name } of ATTACKS) if (await attack(all)) succeeded.push(name);
    expect(succeeded).toEqual([]);
  });

  it.each(ATTACKS)("would be seen where a wider permission lets it: it $name", async ({ attack, wider }) => {
    expect(await attack(await cast(wider))).toBe(true);
  });

  it("asks on its own subjects, gets answers, sees its events and its turns", async () => {
    const { ann, daemon } = await cast();
    daemon.subscribe("vlinder.v1.*.kv.get", { callback: (_error, message) => void message.respond("answer") });
    await daemon.flush();
    expect((await ann.request("vlinder.v1.ann.kv.get", "", { timeout: 2_000 })).string()).toBe("answer");
    expect(await reaches(daemon, "vlinder.v1.ann.events.commit", ann, "vlinder.v1.ann.events.>")).toBe(true);
    expect(await reaches(daemon, "vlinder.v1.ann.invoke", ann, "vlinder.v1.ann.invoke")).toBe(true);
  });

  // Seen to fail with an empty `resp` in the role's template, which is what `newScopedSigner` writes.
  it("may not answer wherever a message asks for it", async () => {
    const { ann, bob, daemon } = await cast();
    ann.subscribe("vlinder.v1.ann.invoke", { callback: (_error, message) => void message.respond("gotcha") });
    await ann.flush();
    let got = false;
    bob.subscribe("_INBOX.bob.x", { callback: () => (got = true) });
    await bob.flush();
    daemon.publish("vlinder.v1.ann.invoke", "", { reply: "_INBOX.bob.x" });
    for (const one of [daemon, ann, ann, bob]) await one.flush();
    expect(got).toBe(false);
  });
});

describe("the daemon", () => {
  it("has an inbox that agents can't read", async () => {
    const { admin, ann } = await cast();
    expect(await reaches(admin, `${DAEMON_INBOX}.1`, ann, `${DAEMON_INBOX}.>`)).toBe(false);
  });
});

describe("the administrator", () => {
  it("asks for anything of vlinder and discovers its services", async () => {
    const { admin, daemon } = await cast();
    const service = await daemon.services.add({ name: "vlinder", version: "0.1.0" });
    service.addEndpoint("status", {
      subject: "vlinder.admin.v1.daemon.status",
      handler: (_error, message) => void message.respond("up"),
    });
    await daemon.flush();
    expect((await admin.request("vlinder.admin.v1.daemon.status", "", { timeout: 2_000 })).string()).toBe("up");
    const found = await admin.services
      .client({ strategy: RequestStrategy.Count, maxMessages: 1, maxWait: 2_000 })
      .ping();
    const names: string[] = [];
    for await (const one of found) names.push(one.name);
    expect(names).toEqual(["vlinder"]);
  });

  it("reads no agent's inbox", async () => {
    const { admin, daemon } = await cast();
    expect(await reaches(daemon, "_INBOX.bob.1", admin, "_INBOX.>")).toBe(false);
  });
});
