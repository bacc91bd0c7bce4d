import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { sha256, VlinderError } from "@vlinder/protocol";
import { connect } from "../src/index.ts";
import { all, Stage } from "./support.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterAll(() => stage[Symbol.asyncDispose]());
beforeEach(() => {
  stage.responder.states.clear();
  stage.responder.received.length = 0;
});

test("text, bytes and JSON come back as they were put", async () => {
  const { kv } = stage.vlinder;
  const put = await kv.put("/a", "Grüße");
  expect(put.hash).toBe(sha256("Grüße"));
  const value = await kv.get("/a");
  expect(value?.text()).toBe("Grüße");
  expect(value?.hash).toBe(put.hash);
  expect(value?.state).toBe(put.state);
  await kv.put("/b", new Uint8Array([0, 255, 128]));
  const bytes = await kv.get("/b");
  expect([...(bytes?.bytes ?? [])]).toEqual([0, 255, 128]);
  expect(() => bytes?.text()).toThrow("not UTF-8");
  await kv.putJson("/c", { items: [1, "zwei"] });
  expect((await kv.get("/c"))?.json<{ items: unknown[] }>().items).toEqual([1, "zwei"]);
});

test("an agent that the daemon started need not say which one it is; any other must", async () => {
  vi.stubEnv("VLINDER_AGENT", "");
  const { url } = stage.server;
  await expect(connect({ url })).rejects.toMatchObject({
    code: "invalid",
    remedy: expect.stringContaining("connect({"),
  });
  vi.stubEnv("VLINDER_AGENT", "from-the-environment");
  vi.stubEnv("VLINDER_URL", url);
  const [told, named] = [await connect(), await connect({ agent: "todo" })];
  expect([told.agent, named.agent]).toEqual(["from-the-environment", "todo"]);
  await told.close();
  await named.close();
  vi.unstubAllEnvs();
});

test("a missing key is null, an empty value is a value", async () => {
  const { kv } = stage.vlinder;
  expect(await kv.get("/none")).toBeNull();
  await kv.put("/empty", "");
  expect((await kv.get("/empty"))?.size).toBe(0);
  expect(await kv.delete("/none")).toBe(false);
  expect(await kv.delete("/empty")).toBe(true);
  expect(await kv.get("/empty")).toBeNull();
});

test("a missing branch or commit is an error, not null", async () => {
  await expect(stage.vlinder.branch("nope").kv.get("/a")).rejects.toMatchObject({ code: "not_found" });
  await expect(stage.vlinder.at("abcd1234").kv.get("/a")).rejects.toMatchObject({ code: "not_found" });
});

test("expect holds or is a conflict", async () => {
  const { kv } = stage.vlinder;
  const { hash } = await kv.put("/a", "1", { expect: null });
  await expect(kv.put("/a", "2", { expect: null })).rejects.toMatchObject({ code: "conflict", retryable: false });
  await kv.put("/a", "2", { expect: hash });
  await expect(kv.delete("/a", { expect: hash })).rejects.toBeInstanceOf(VlinderError);
});

test("list gives every key, across pages, from one state", async () => {
  const { kv } = stage.vlinder;
  const keys = Array.from({ length: 2345 }, (_, i) => `/k/${String(i).padStart(5, "0")}`);
  for (let i = 0; i < keys.length; i += 1000) {
    await kv.batch(keys.slice(i, i + 1000).map((key) => ({ op: "put", key, value: key })));
  }
  await kv.put("/other", "");
  const seen: string[] = [];
  for await (const { key } of kv.list("/k/")) {
    if (seen.length === 500) await kv.put("/k/99999", "written meanwhile");
    seen.push(key);
  }
  expect(seen).toEqual(keys);
  expect((await kv.page({ prefix: "/k/", limit: 2 })).next).toBe("/k/00001");
});

test("a batch is one commit, and takes its turn among operations on its keys", async () => {
  const { kv } = stage.vlinder;
  const before = stage.responder.state().line().length;
  const [, batch] = await Promise.all([
    kv.put("/a", "1"),
    kv.batch([
      { op: "put", key: "/a", value: "2" },
      { op: "delete", key: "/zzz" },
    ]),
    kv.put("/a", "3"),
  ]);
  expect(batch.hashes).toEqual([sha256("2"), null]);
  expect(stage.responder.state().line().length).toBe(before + 3);
  expect((await kv.get("/a"))?.text()).toBe("3");
  expect((await all(kv.history("/a"))).map(({ hash }) => hash)).toEqual([sha256("3"), sha256("2"), sha256("1")]);
  expect(stage.responder.violations).toEqual([]);
});

test("the past stays readable and can't be written", async () => {
  const { vlinder } = stage;
  const { state } = await vlinder.kv.put("/a", "old");
  await vlinder.kv.put("/a", "new");
  const past = vlinder.at(state);
  expect((await past.kv.get("/a"))?.text()).toBe("old");
  expect((await all(past.kv.list())).length).toBe(1);
  expect("put" in past.kv).toBe(false);
});

test("a branch has its own keys", async () => {
  const { vlinder } = stage;
  await vlinder.kv.put("/a", "1");
  await vlinder.client.request(vlinder.agent, "timeline.fork", { name: "fix" });
  const fix = vlinder.branch("fix");
  await fix.kv.put("/a", "2");
  expect((await vlinder.kv.get("/a"))?.text()).toBe("1");
  expect((await fix.kv.get("/a"))?.text()).toBe("2");
});

test("vectors are put, read, searched, listed, deleted", async () => {
  const { vectors } = stage.vlinder;
  await vectors.put("/v/1", [1, 0, 0], { metadata: { title: "one" }, model: "m" });
  await vectors.put("/v/2", Float32Array.of(0, 1, 0.5));
  const record = await vectors.get("/v/2");
  expect(record?.vector).toEqual(Float32Array.of(0, 1, 0.5));
  expect(await vectors.get("/v/3")).toBeNull();
  const [nearest] = await vectors.search([0.9, 0.1, 0], { limit: 1 });
  expect(nearest).toMatchObject({ key: "/v/1", metadata: { title: "one" } });
  expect((await all(vectors.list("/v/"))).map(({ key }) => key)).toEqual(["/v/1", "/v/2"]);
  expect(await vectors.delete("/v/1")).toBe(true);
});

test.each([
  ["an empty key", "", "x", "invalid"],
  ["a key over 1,024 bytes", "ü".repeat(513), "x", "invalid"],
  ["a key with NUL", "a\0b", "x", "invalid"],
  ["a key with a lone surrogate", "a\ud800", "x", "invalid"],
  ["text with a lone surrogate", "/a", "\udfff", "invalid"],
  ["large text with a lone surrogate", "/a", `${"x".repeat(600_000)}\udfff`, "invalid"],
  ["a large value of a key that is none", "", new Uint8Array(600_000), "invalid"],
  ["what is no value", "/a", 7 as never, "invalid"],
])("%s is refused before it is sent", async (_what, key, value, code) => {
  await expect(stage.vlinder.kv.put(key, value)).rejects.toMatchObject({ code });
  expect(stage.responder.received).toEqual([]);
});

test("vectors and batches are checked before they are sent", async () => {
  const { vectors, kv } = stage.vlinder;
  await expect(vectors.put("/v", [])).rejects.toMatchObject({ code: "invalid" });
  await expect(vectors.put("/v", [Number.NaN])).rejects.toMatchObject({ code: "invalid" });
  const metadata = { text: "x".repeat(17_000) };
  await expect(vectors.put("/v", [1], { metadata })).rejects.toMatchObject({ code: "too_large" });
  const changes = Array.from({ length: 1001 }, (_, i) => ({ op: "delete" as const, key: `/${i}` }));
  await expect(kv.batch(changes)).rejects.toMatchObject({ code: "too_large", details: { limit: 1000 } });
  const large = Array.from({ length: 3 }, (_, i) => ({ op: "put" as const, key: `/${i}`, value: new Uint8Array(4e5) }));
  await expect(kv.batch(large)).rejects.toMatchObject({ code: "too_large" });
  expect(stage.responder.received).toEqual([]);
});

test("what the caller does to its bytes later changes nothing", async () => {
  const { kv } = stage.vlinder;
  const bytes = new Uint8Array([1, 2, 3]);
  const putting = kv.put("/a", bytes);
  bytes.fill(9);
  await putting;
  expect([...((await kv.get("/a"))?.bytes ?? [])]).toEqual([1, 2, 3]);
});

test("progress is reported, and the reply comes behind it", async () => {
  const { client, agent } = stage.vlinder;
  const seen: number[] = [];
  const reply = await client.request(agent, "timeline.verify", {}, { onProgress: ({ done }) => seen.push(done) });
  expect(seen).toEqual([1, 2, 3]);
  expect(reply.ok).toBe(true);
  const thrown = new Error("mine");
  const onProgress = (): never => {
    throw thrown;
  };
  await expect(client.request(agent, "timeline.verify", {}, { onProgress })).rejects.toBe(thrown);
});

test("events arrive until the loop is left", async () => {
  const events = stage.vlinder.events("commit");
  const first = events.next();
  await stage.vlinder.client.request(stage.vlinder.agent, "timeline.verify", {});
  stage.responder.publish("vlinder.v1.todo.events.commit", { agent: "todo", branch: "main", state: sha256("x") });
  expect((await first).value).toMatchObject({ branch: "main", state: sha256("x") });
  await events.return();
});
