import type { Vlinder } from "@vlinder/agent-runtime";
import { expect, test } from "vitest";
import { newStage } from "./harness/stage.ts";

const stage = newStage();

/** An agent's program: it knows nothing of where its state lies. */
async function program(vlinder: Vlinder): Promise<unknown[]> {
  const { kv, vectors, client, agent } = vlinder;
  const said: unknown[] = [];
  const say = (...what: unknown[]): void => void said.push(...what);
  await Promise.all(Array.from({ length: 150 }, (_, i) => kv.put(`/n/${i}`, `note ${i * i}`)));
  const before = await kv.put("/long", "ä".repeat(100_000));
  await kv.batch([
    { op: "delete", key: "/n/7" },
    { op: "put", key: "/n/8", value: new Uint8Array([0, 255]) },
  ]);
  await kv.put("/long", "short");
  say(await kv.delete("/n/9"), await kv.delete("/n/9"), (await kv.get("/n/8"))?.bytes, (await kv.get("/n/7")) === null);
  const error: unknown = await kv.put("/n/1", "x", { expect: null }).catch((thrown: unknown) => thrown);
  say((error as { code: string }).code);
  for await (const { key, hash, size } of kv.list("/n/1")) say([key, hash, size]);
  for await (const { event, hash } of kv.history("/long")) say([event, hash]);
  const past = vlinder.at(before.state).kv;
  say((await past.get("/long"))?.size, (await past.get("/n/7"))?.text());

  for (let i = 0; i < 20; i++) {
    await vectors.put(`/v/${i}`, [i, 20 - i, 1], { metadata: { even: i % 2 === 0, i } });
  }
  const found = await vectors.search([3, 17, 1], { limit: 4, filter: { even: true } });
  say(found.map(({ key, score, metadata }) => [key, score.toFixed(6), metadata]));
  say(await vectors.delete("/v/4"), (await vectors.get("/v/5"))?.vector);

  await client.request(agent, "timeline.fork", { name: "try" });
  const tried = vlinder.branch("try").kv;
  await tried.put("/tried", "yes");
  await tried.put("/n/1", "tried");
  await kv.put("/n/2", "main");
  const { kind, conflicts } = await client.request(agent, "timeline.merge", { from: "try" });
  say(kind, conflicts, (await kv.get("/tried"))?.text(), (await kv.get("/n/1"))?.text());
  const { state } = await kv.put("/regret", "this");
  const { parents } = await client.request(agent, "timeline.show", { ref: state });
  await client.request(agent, "timeline.rewind", { to: parents[0] });
  say((await kv.get("/regret")) === null);
  const { ok, damage } = await client.request(agent, "timeline.verify", {});
  say(ok, damage);
  return said;
}

const NAMED = (objects: string, vectors: string): string =>
  `object_storage = "${objects}"\nvector_storage = "${vectors}"\n[vectors]\ndimension = 3\n`;

test(
  "the same program gives the same results and the same snapshot on every storage",
  { timeout: 60_000 },
  async () => {
    const machines = [
      { config: "", declares: NAMED("sqlite://objects.db", "sqlite://vectors.db") },
      { config: "", declares: NAMED("memory://objects", "memory://vectors") },
      { config: "", declares: NAMED("default", "default") },
      {
        config: '[storage]\nobjects = "memory://objects"\nvectors = "memory://vectors"',
        declares: NAMED("default", "default"),
      },
    ];
    const outcomes = [];
    for (const { config, declares } of machines) {
      const daemon = await stage.daemon(config);
      const { storage } = await stage.register(daemon, "diary", declares);
      const agent = await stage.sdk(daemon, "diary");
      const said = await program(agent);
      const { snapshot, keys, vectors } = await (await stage.admin(daemon)).admin("agents.show", { agent: "diary" });
      outcomes.push({ storage, said, snapshot, keys, vectors });
      await daemon.stop();
    }
    const [first, ...others] = outcomes;
    for (const { said, snapshot, keys, vectors } of others) {
      expect({ said, snapshot, keys, vectors }).toEqual({
        said: first?.said,
        snapshot: first?.snapshot,
        keys: first?.keys,
        vectors: first?.vectors,
      });
    }
    expect(first?.keys).toBe(150);
    expect(outcomes.map(({ storage }) => storage.objects.split(":")[0])).toEqual([
      "sqlite",
      "memory",
      "sqlite",
      "memory",
    ]);
    expect(outcomes.map(({ storage }) => storage.vectors?.split(":")[0])).toEqual([
      "sqlite",
      "memory",
      "sqlite",
      "memory",
    ]);
  },
);
