import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type AgentName, LIMITS, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { noise } from "../daemon/test/state/property.ts";
import { runLarge } from "./harness/large-values.ts";
import { newStage } from "./harness/stage.ts";
import { growTranscript } from "./harness/transcript.ts";
import { ask } from "./harness/wire.ts";
import { IS_LONG } from "./harness/long.ts";

const MIB = 1024 * 1024;
const stage = newStage();
const LARGE = noise(1, 5 * MIB + 123);

/** Gives a value slowly, in pieces, and says how far it is. */
async function* slowly(
  bytes: Uint8Array,
  piece: number,
  after: (sent: number) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += piece) {
    yield bytes.subarray(at, at + piece);
    await after(at + piece);
  }
}

// A gigabyte, and 20 MB that grow 500 times, are in `npm run soak`.
test("64 MiB go in and come out, and neither daemon nor client holds them", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const put = await runLarge(daemon, "put", "todo", "/big", 64 * MIB);
  const get = await runLarge(daemon, "get", "todo", "/big", 0);
  expect([get.hash, get.size]).toEqual([put.hash, 64 * MIB]);
  for (const { daemonMemory, clientMemory } of [put, get]) {
    expect(daemonMemory).toBeLessThan(150 * MIB);
    expect(clientMemory).toBeLessThan(150 * MIB);
  }
}, 120_000);

test("bytes, text, blobs, streams and sources: put, get, open, ranges, batch", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const { kv, at } = await stage.sdk(daemon, "todo").then((sdk) => ({ kv: sdk.kv, at: sdk.at.bind(sdk) }));
  const hash = sha256(LARGE);
  const first = await kv.put("/bytes", LARGE, { expect: null });
  expect(first.hash).toBe(hash);
  await expect(kv.put("/bytes", LARGE, { expect: null })).rejects.toMatchObject({ code: "conflict" });
  for (const content of [
    new Blob([LARGE]),
    new Blob([LARGE]).stream(),
    slowly(LARGE, 700_001, () => Promise.resolve()),
    { size: LARGE.length, stream: () => new Blob([LARGE]).stream() },
  ]) {
    expect((await kv.put("/other", content)).hash).toBe(hash);
  }
  const text = "ä€".repeat(400_000);
  await kv.put("/text", text);
  expect((await kv.get("/text"))?.text()).toBe(text);
  expect(Buffer.compare((await kv.get("/bytes"))?.bytes ?? new Uint8Array(), LARGE)).toBe(0);
  expect(
    (
      await kv.put(
        "/empty",
        slowly(new Uint8Array(), 1, () => Promise.resolve()),
      )
    ).hash,
  ).toBe(sha256(""));
  expect((await kv.put("/tiny", new Blob(["x"]))).hash).toBe(sha256("x"));

  const value = await kv.open("/bytes");
  expect([value?.hash, value?.size]).toEqual([hash, LARGE.length]);
  for (const [start, end] of [
    [0, 1],
    [1_000_000, 3_000_000],
    [LARGE.length - 1, LARGE.length],
    [7, 7],
  ] as const) {
    expect(Buffer.compare((await value?.bytes({ start, end })) ?? LARGE, LARGE.subarray(start, end))).toBe(0);
  }
  const sum = createHash("sha256");
  for await (const part of value?.stream() ?? []) sum.update(part);
  expect(sum.digest("hex")).toBe(hash);
  await expect(value?.bytes({ start: 0, end: LARGE.length + 1 })).rejects.toMatchObject({ code: "invalid" });
  expect(await kv.open("/nothing")).toBeNull();
  expect(await (await kv.open("/empty"))?.bytes()).toHaveLength(0);
  for await (const part of value?.stream() ?? []) if (part.length > 0) break;

  // Read at a state, it stays what it was.
  await kv.put("/bytes", "changed");
  expect(Buffer.compare((await value?.bytes()) ?? new Uint8Array(), LARGE)).toBe(0);
  expect((await at(first.state).kv.open("/bytes"))?.hash).toBe(hash);

  const stream = new Blob([LARGE]).stream();
  const { hashes } = await kv.batch([
    { op: "put", key: "/a", value: stream },
    { op: "put", key: "/b", value: "small" },
    { op: "put", key: "/c", value: stream },
    { op: "delete", key: "/other" },
  ]);
  expect(hashes).toEqual([hash, sha256("small"), hash, null]);
  const verified = await (await stage.admin(daemon)).request("todo" as AgentName, "timeline.verify", {});
  expect(verified.ok).toBe(true);
});

test("what is asked for one key happens in the order of the calls, and other keys do not wait", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const { kv } = await stage.sdk(daemon, "todo");
  let sent = 0;
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const large = kv.put(
    "/k",
    slowly(LARGE, MIB, (so) => {
      sent = so;
      return so >= 2 * MIB ? held : Promise.resolve();
    }),
  );
  let answered = 0;
  const between = kv.get("/k").finally(() => answered++);
  const small = kv.put("/k", "small").finally(() => answered++);
  for (let i = 0; i < 200; i++) await kv.put(`/other/${i}`, "x");
  expect(sent).toBe(2 * MIB);
  expect(answered).toBe(0);
  release();
  expect((await large).hash).toBe(sha256(LARGE));
  expect((await between)?.hash).toBe(sha256(LARGE));
  await small;
  expect((await kv.get("/k"))?.text()).toBe("small");
});

test("a source that fails, and a signal, leave nothing behind", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const { kv } = await stage.sdk(daemon, "todo");
  for (let i = 0; i < LIMITS.uploads + 4; i++) {
    const failing = slowly(LARGE, MIB, () =>
      i % 2 === 0 ? Promise.reject(new Error("the disk was pulled out")) : Promise.resolve(),
    );
    const signal = i % 2 === 0 ? undefined : AbortSignal.abort(new Error("no more"));
    await expect(kv.put("/k", failing, { signal })).rejects.toThrow(i % 2 === 0 ? "pulled out" : "no more");
  }
  await expect(
    kv.put(
      "/k",
      slowly(["text"] as never, 1, () => Promise.resolve()),
    ),
  ).rejects.toThrow();
  expect(await kv.get("/k")).toBeNull();
  expect((await kv.put("/k", LARGE)).hash).toBe(sha256(LARGE));
});

test("the daemon is killed in the midst of an upload: what can be read again is sent again, a stream is told", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const { kv } = await stage.sdk(daemon, "todo", { retries: 20, timeout: 2_000 });
  let restarts = 0;
  const source = (times: number) => {
    let read = 0;
    return slowly(LARGE, 256 * 1024, async (so) => {
      if (so < 3 * MIB || read++ > 0 || restarts >= times) return;
      restarts++;
      await daemon.kill();
      await daemon.start();
    });
  };
  const reply = await kv.put("/again", { size: LARGE.length, stream: () => source(1) });
  expect(reply.hash).toBe(sha256(LARGE));
  expect(restarts).toBe(1);
  await expect(kv.put("/once", source(2))).rejects.toMatchObject({ code: "unavailable", retryable: true });
  expect(restarts).toBe(2);
  expect(await kv.get("/once")).toBeNull();
  expect(Buffer.compare((await kv.get("/again"))?.bytes ?? new Uint8Array(), LARGE)).toBe(0);
});

test("an upload belongs to its agent, and a hash opens nothing", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "ann");
  await stage.register(daemon, "bob");
  const [ann, bob] = [await stage.wire(daemon, "ann"), await stage.wire(daemon, "bob")];
  const bytes = "x".repeat(100_000);
  const part = { upload: "u", offset: 0, bytes, last: true };
  expect(await ask(ann, "vlinder.v1.ann.value.put", part)).toMatchObject({
    body: { received: 100_000, hash: sha256(bytes) },
  });
  const refused = { body: { error: { code: "not_found" } } };
  expect(await ask(bob, "vlinder.v1.bob.kv.put", { key: "/k", upload: "u" })).toMatchObject(refused);
  expect(await ask(bob, "vlinder.v1.bob.value.put", { ...part, offset: 100_000 })).toMatchObject(refused);
  expect(await ask(bob, "vlinder.v1.bob.value.drop", { upload: "u" })).toMatchObject({ body: { dropped: false } });
  const byHash = await ask(bob, "vlinder.v1.bob.value.get", { hash: sha256(bytes) });
  expect(byHash).toMatchObject({ body: { error: { code: "invalid" } } });
  expect(await ask(ann, "vlinder.v1.ann.kv.put", { key: "/k", upload: "u" })).toMatchObject({
    body: { hash: sha256(bytes) },
  });
  expect(await ask(bob, "vlinder.v1.bob.value.get", { key: "/k" })).toMatchObject(refused);
});

test("a value that no reply holds says so, and how to read it; JSON gets as much as fits", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const { kv } = await stage.sdk(daemon, "todo");
  const control = Buffer.alloc(MIB, 1);
  const { state } = await kv.put("/control", control);
  const wire = await stage.wire(daemon, "todo");
  const answer = await ask(wire, "vlinder.v1.todo.kv.get", { key: "/control" });
  expect(answer.body).toMatchObject({
    error: { code: "too_large", details: { hash: sha256(control), size: MIB, state } },
  });
  let text = "";
  while (text.length < MIB) {
    const { body } = await ask(wire, "vlinder.v1.todo.value.get", { key: "/control", offset: text.length });
    text += (body as { bytes: string }).bytes;
  }
  expect(sha256(text)).toBe(sha256(control));
  const behind = await ask(wire, "vlinder.v1.todo.value.get", { key: "/control", offset: MIB + 1 });
  expect(behind.body).toMatchObject({ error: { code: "invalid" } });
  // Between small ones in one pipeline, too.
  await kv.put("/small", "1");
  const [small, large] = await Promise.all([kv.get("/small"), kv.get("/control"), kv.get("/nothing")]);
  expect([small?.text(), large?.size]).toEqual(["1", MIB]);
});

test.runIf(IS_LONG)(
  "a transcript of 2 MB that grows by 4 KB, 25 times, takes at most 3 times its size, and every version is there",
  async () => {
    const daemon = await stage.daemon();
    const { ratio, versions, wrong } = await growTranscript(stage, daemon, { bytes: 2_000_000, turns: 25, step: 4096 });
    expect(wrong).toEqual([]);
    expect(versions).toBe(25);
    expect(ratio).toBeLessThan(3);
    expect(ratio).toBeGreaterThan(1);
  },
  240_000,
);

test("small puts go on beside a large one", async () => {
  const daemon = await stage.daemon();
  await stage.register(daemon, "todo");
  const small = await stage.sdk(daemon, "todo");
  let going = true;
  const large = runLarge(daemon, "put", "todo", "/big", 48 * MIB).finally(() => (going = false));
  const times: number[] = [];
  while (going) {
    const started = performance.now();
    await small.kv.put("/small", String(times.length));
    times.push(performance.now() - started);
    await sleep(5);
  }
  const { seconds } = await large;
  times.sort((a, b) => a - b);
  expect(times.length).toBeGreaterThan(20);
  // One that waited for the upload would take as long as it.
  expect(times[Math.floor(times.length * 0.9)]).toBeLessThan(seconds * 250);
}, 120_000);
