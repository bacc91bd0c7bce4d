import type { ChangesItem, Hash } from "@vlinder/protocol";
import { type Change, type Vlinder, watch } from "@vlinder/agent-runtime";
import { expect, test } from "vitest";
import { newStage } from "./harness/stage.ts";
import { until } from "./harness/processes.ts";
import { IS_LONG } from "./harness/long.ts";

const stage = newStage();

/** Collects what a watch gives, until it is ended. */
class Watcher {
  readonly seen: Change[] = [];
  readonly #end = new AbortController();
  readonly done: Promise<void>;

  constructor(vlinder: Vlinder, prefix: string, from?: string, branch?: string) {
    const { client, agent } = vlinder;
    const scope = { client, agent, ...(branch === undefined ? {} : { branch }) };
    const options = { signal: this.#end.signal, ...(from === undefined ? {} : { from }) };
    this.done = (async () => {
      for await (const change of watch(scope, prefix, options)) this.seen.push(change);
    })();
  }

  get states(): string[] {
    return this.seen.map(({ state }) => state);
  }

  async end(): Promise<void> {
    this.#end.abort();
    await this.done;
  }
}

interface Logged {
  readonly state: string;
  readonly keys: readonly string[];
}

/** The commits of main since one, oldest first, with the keys that they changed, as the log and `show` say. */
async function logged(vlinder: Vlinder, from: string): Promise<Logged[]> {
  const { client, agent } = vlinder;
  const found: Logged[] = [];
  for (let after: Hash | undefined; ;) {
    const { items, next } = await client.request(agent, "timeline.log", { after, limit: 1000 });
    for (const { hash } of items) {
      if (hash === from) return found.reverse();
      const { changes } = await client.request(agent, "timeline.show", { ref: hash });
      found.push({ state: hash, keys: changes.filter(({ space }) => space === "kv").map(({ key }) => key) });
    }
    if (next === null) throw new Error(`${from} is not in the log`);
    after = next;
  }
}

test("a watch misses no commit and gives none twice, beside writers, over a stop and a kill of the daemon", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const vlinder = await stage.sdk(daemon, "todo", { retries: 30 });
  await vlinder.kv.put("/n/0", "before");
  const { state: from } = await vlinder.kv.put("/n/0", "read");
  await vlinder.kv.put("/n/0", "after it was read");

  const early = new Watcher(await stage.sdk(daemon, "todo"), "/n/", from);
  const all = new Watcher(await stage.sdk(daemon, "todo"), "", from);
  const writers = await Promise.all([1, 2, 3].map(() => stage.sdk(daemon, "todo", { retries: 30 })));
  const burst = (name: string): Promise<unknown> =>
    Promise.all(
      writers.flatMap(({ kv }, w) =>
        Array.from({ length: IS_LONG ? 40 : 15 }, (_, i) => {
          const key = `${i % 3 === 0 ? "/other" : "/n"}/${w}/${i % 7}`;
          if (i % 10 === 9)
            return kv.batch([
              { op: "put", key: `${key}/x`, value: name },
              { op: "delete", key },
            ]);
          return kv.put(key, `${name} ${i}`);
        }),
      ),
    );
  await burst("first");
  const late = new Watcher(await stage.sdk(daemon, "todo"), "/n/", from);
  const writing = burst("second");
  await daemon.stop();
  await daemon.start();
  await writing;
  const more = burst("third");
  await daemon.kill();
  await daemon.start();
  await more;
  await burst("fourth");

  const whole = await logged(vlinder, from);
  const expected = whole
    .map(({ state, keys }) => ({ state, keys: keys.filter((key) => key.startsWith("/n/")) }))
    .filter(({ keys }) => keys.length > 0);
  expect(expected.length).toBeGreaterThan(100);
  expect(whole.length).toBeGreaterThan(expected.length);
  await until(
    "the watches have seen it",
    () =>
      early.seen.length >= expected.length && late.seen.length >= expected.length && all.seen.length >= whole.length,
    20_000,
  );
  // Nothing more comes.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  for (const [watcher, log] of [
    [early, expected],
    [late, expected],
    [all, whole],
  ] as const) {
    await watcher.end();
    expect(watcher.states).toEqual(log.map(({ state }) => state));
    expect(watcher.seen.map(({ changes }) => changes.map(({ key }) => key))).toEqual(log.map(({ keys }) => keys));
  }
}, 120_000);

test("what a watch gives, applied in order, makes the state: over merges, rewinds and changes larger than a reply", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const vlinder = await stage.sdk(daemon, "todo");
  const { client, agent, kv } = vlinder;
  const { state: from } = await kv.put("/a", "1");
  const watcher = new Watcher(await stage.sdk(daemon, "todo"), "/", from);
  await client.request(agent, "timeline.fork", { name: "side" });
  await vlinder.branch("side").kv.put("/side", "there");
  await kv.put("/main", "here");
  // Keys so long that one commit fills more than one reply.
  const long = "k".repeat(900);
  await vlinder
    .branch("side")
    .kv.batch(Array.from({ length: 600 }, (_, i) => ({ op: "put", key: `/${i}/${long}`, value: "x" })));
  await client.request(agent, "timeline.merge", { from: "side" });
  await kv.delete("/a");
  const { state: rewound } = await client.request(agent, "timeline.rewind", { to: from });
  await client.request(agent, "timeline.rewind", { to: "side" });
  const { state: last } = await kv.put("/end", "end");
  await until("the watch has seen it", () => watcher.states.includes(last), 20_000);
  await watcher.end();

  expect(watcher.seen.length).toBe(6);
  expect(new Set(watcher.states).size).toBe(6);
  expect(watcher.states).toContain(rewound);
  const state = new Map<string, string>();
  for await (const { key, hash } of vlinder.at(from).kv.list()) state.set(key, hash);
  for (const { changes, state: at } of watcher.seen) {
    for (const { key, hash } of changes) {
      if (hash === null) state.delete(key);
      else state.set(key, hash);
    }
    const there = new Map<string, string>();
    for await (const { key, hash } of vlinder.at(at).kv.list()) there.set(key, hash);
    expect(state).toEqual(there);
  }

  // In small pages it is the same.
  const items: ChangesItem[] = [];
  for (let after: string | undefined; ;) {
    const reply = await client.request(agent, "kv.changes", { from, after, limit: 1 });
    items.push(...reply.items);
    if (reply.next === null) break;
    after = reply.next;
  }
  expect(items.filter(({ more }) => more === true).length).toBeGreaterThan(1);
  expect(items.filter(({ more }) => more !== true).map(({ state: at }) => at)).toEqual(watcher.states);
});

test("a watch begins now when no commit is given, and on its branch", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const vlinder = await stage.sdk(daemon, "todo");
  await vlinder.kv.put("/a", "1");
  await vlinder.client.request(vlinder.agent, "timeline.fork", { name: "side" });
  const side = vlinder.branch("side").kv;
  const found: string[] = [];
  const watching = (async () => {
    for await (const { changes } of side.watch("/")) {
      found.push(...changes.map(({ key }) => key));
      if (found.includes("/last")) return;
    }
  })();
  // It has begun when it sees something.
  await until(
    "the watch has begun",
    async () => {
      await side.put("/probe", String(Math.random()));
      return found.length > 0;
    },
    10_000,
  );
  await vlinder.kv.put("/not/on/it", "2");
  await side.put("/last", "3");
  await watching;
  expect(found).not.toContain("/a");
  expect(found).not.toContain("/not/on/it");
});

test("a commit that is not in the branch's history is refused, and so is one that is not there", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const vlinder = await stage.sdk(daemon, "todo");
  await vlinder.kv.put("/a", "1");
  await vlinder.client.request(vlinder.agent, "timeline.fork", { name: "side" });
  const { state } = await vlinder.branch("side").kv.put("/b", "2");
  await vlinder.kv.put("/c", "3");
  await expect(vlinder.kv.watch("/", { from: state }).next()).rejects.toMatchObject({ code: "invalid" });
  await expect(vlinder.kv.watch("/", { from: "0123456789" }).next()).rejects.toMatchObject({ code: "not_found" });
  await expect(vlinder.branch("none").kv.watch("/").next()).rejects.toMatchObject({ code: "not_found" });
  const request = { from: state, after: "nonsense" };
  await expect(vlinder.client.request(vlinder.agent, "kv.changes", request)).rejects.toMatchObject({ code: "invalid" });
});
