import { setTimeout as sleep } from "node:timers/promises";
import type { AgentName } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { Load } from "./harness/load.ts";
import { freePort, processesWith } from "./harness/processes.ts";
import { allCommits, allKeys } from "./harness/reading.ts";
import { IS_LONG } from "./harness/long.ts";
import { newStage } from "./harness/stage.ts";
import { ask } from "./harness/wire.ts";

const stage = newStage();
const KILLS = IS_LONG ? 12 : 4;
const AGENT = "load" as AgentName;

test(
  "kill -9 during a load of puts, again and again: what was acknowledged is there, nothing is there twice",
  { timeout: 300_000 },
  async () => {
    const daemon = await stage.newDaemon();
    // One port over all starts, as a real daemon has: so the clients come back by themselves.
    await daemon.configure("", await freePort());
    await daemon.start();
    await stage.register(daemon, AGENT, 'object_storage = "sqlite://objects.db"\n');
    const admin = await stage.client({ home: daemon.home, retries: 30 });
    const clients = await Promise.all([1, 2, 3, 4].map(() => stage.sdk(daemon, AGENT, { retries: 30 })));
    const load = new Load(clients, 16);
    const wire = await stage.wire(daemon, AGENT);
    const repeated: { body: object; state: unknown }[] = [];

    for (let kill = 1; kill <= KILLS; kill++) {
      await load.more(20);
      const body = { key: `/once/${kill}`, value: "by hand", id: `once-${kill}` };
      const { body: first, error } = await ask(wire, "vlinder.v1.load.kv.put", body);
      expect(error).toBeNull();
      repeated.push({ body, state: first["state"] });
      await sleep(Math.random() * 60);
      await daemon.kill();
      const acknowledged = [...load.acknowledged.keys()];
      await daemon.start();

      expect(processesWith(daemon.home), "the nats-server that was left is gone").toEqual([daemon.natsPid]);
      const { items } = await admin.admin("agents.list");
      expect(items).toMatchObject([{ agent: AGENT, error: null }]);
      const there = new Set((await allKeys(admin, AGENT)).map(({ key }) => key));
      expect(acknowledged.filter((key) => !there.has(key))).toEqual([]);
      if (kill % 5 !== 0) continue;
      const report = await admin.request(AGENT, "timeline.verify", {}, { timeout: 60_000 });
      expect(report).toMatchObject({ ok: true, damage: [] });
    }

    await load.stop();
    expect(load.failures).toEqual([]);
    for (const { body, state } of repeated) {
      expect((await ask(wire, "vlinder.v1.load.kv.put", body)).body["state"]).toBe(state);
    }
    const keys = await allKeys(admin, AGENT);
    expect(keys.length).toBe(load.acknowledged.size + KILLS);
    // Each key was put once; a retry that was done twice would be one commit more.
    const puts = (await allCommits(admin, AGENT)).filter(({ event }) => event.kind === "kv.put");
    expect(puts.length).toBe(keys.length);
    const commits = new Set(puts.map(({ hash }) => hash));
    expect([...load.acknowledged.values()].filter((state) => !commits.has(state as never))).toEqual([]);
    expect(await admin.request(AGENT, "timeline.verify", {}, { timeout: 60_000 })).toMatchObject({ ok: true });
    expect(daemon.logged(50), "no start had an error").toEqual([]);
    expect(await daemon.stop()).toBe(0);
  },
);
