import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Fault } from "../../../test/harness/hub/faults.ts";
import { report } from "../../../test/harness/hub/request-log.ts";
import { IS_LONG } from "../../../test/harness/long.ts";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { type Hub, listed, someBytes, startHub, URI } from "./hub.ts";

const A = { path: "a", bytes: someBytes(300_000) };
const B = { path: "b", bytes: Buffer.from("small") };

const unavailable = { code: "unavailable", retryable: true };

async function filled(hub: Hub): Promise<Bucket> {
  const bucket = await hub.open();
  hub.server.seed("me/vault", A.path, A.bytes);
  hub.server.log.take();
  return bucket;
}

function asked({ server }: Hub): string[] {
  return server.log.take().map(({ route }) => route);
}

/** What a call does to the bucket, the requests that it makes, and how to see that it did it. */
const calls: Record<string, { routes: string[]; run: (bucket: Bucket) => Promise<void> }> = {
  put: {
    routes: ["POST paths-info", "GET xet-write-token", "POST xorbs", "POST shards", "POST batch", "POST paths-info"],
    run: async (bucket) => {
      await bucket.put([B]);
      expect(await bucket.sizes(["b"])).toEqual(new Map([["b", B.bytes.length]]));
    },
  },
  get: {
    routes: ["GET resolve", "GET xet-read-token", "GET reconstructions", "GET xorb ranges"],
    run: async (bucket) => expect((await bucket.get("a"))?.equals(A.bytes)).toBe(true),
  },
  list: { routes: ["GET tree"], run: async (bucket) => expect(await listed(bucket)).toEqual(["a"]) },
  sizes: {
    routes: ["POST paths-info"],
    run: async (bucket) => expect(await bucket.sizes(["a", "b"])).toEqual(new Map([["a", A.bytes.length]])),
  },
  delete: {
    routes: ["POST batch"],
    run: async (bucket) => {
      await bucket.delete(["a"]);
      expect(await listed(bucket)).toEqual([]);
    },
  },
  revision: {
    routes: ["GET bucket"],
    run: async (bucket) => expect(await bucket.revision()).toEqual(expect.any(String)),
  },
};

const each = Object.entries(calls).flatMap(([call, { routes, run }]) =>
  [...new Set(routes)].map((route) => ({ call, route, run })),
);

test.each(Object.entries(calls))("%s makes these requests and no other", async (_, { routes, run }) => {
  const hub = await startHub();
  const bucket = await filled(hub);
  await run(bucket);
  expect(asked(hub).slice(0, routes.length)).toEqual(routes);
});

describe("a fault that passes is not noticed", () => {
  const faults: Record<string, Fault> = {
    "500": { kind: "status", status: 500 },
    "429": { kind: "status", status: 429, headers: { RateLimit: '"api";r=0;t=0', "Retry-After": "0" } },
    "a dropped connection": { kind: "drop" },
    "a lost reply": { kind: "lost" },
    "a reply that breaks off": { kind: "truncate" },
  };
  for (const { call, route, run } of each) {
    test(`${call}: ${route}`, async () => {
      const hub = await startHub();
      const bucket = await filled(hub);
      // One after the other, as many as the tries allow; all of them in the long run.
      const some = Object.values(faults).toSorted(() => Math.random() - 0.5);
      const injected = some.slice(0, IS_LONG ? 5 : 2).map((fault, i) => ({
        fault,
        injection: hub.server.faults.inject(route, fault, { at: i + 1 }),
      }));
      const patient = IS_LONG ? await hub.open(URI, { limits: { pause: 1, tries: 8 } }) : bucket;
      hub.server.log.take();
      await run(patient);
      for (const { fault, injection } of injected) expect(injection.fired, JSON.stringify(fault)).toBe(1);
    });
  }
});

describe("a fault that stays is told", () => {
  test.each(each)("$call: $route, 503 and 429", async ({ route, run }) => {
    const hub = await startHub();
    const bucket = await filled(hub);
    hub.server.faults.inject(route, { kind: "status", status: 503 }, { times: 3 });
    await expect(run(bucket)).rejects.toMatchObject({ ...unavailable, details: { status: 503, bucket: URI } });
    expect(asked(hub).filter((one) => one === route).length).toBeGreaterThanOrEqual(3);
    const later = { "Retry-After": "120" };
    hub.server.faults.inject(route, { kind: "status", status: 429, headers: later }, { times: 1 });
    await expect(run(bucket)).rejects.toMatchObject({ ...unavailable, details: { status: 429, retryAfter: 120_000 } });
    // And then it goes on as if nothing had been.
    await run(bucket);
  });

  test("a service that does not answer", async () => {
    const hub = await startHub();
    const bucket = await hub.open(URI, { limits: { reply: 200, tries: 2, pause: 1 } });
    const injection = hub.server.faults.inject("GET bucket", { kind: "hang" }, { times: 2 });
    await expect(bucket.revision()).rejects.toMatchObject({ ...unavailable, details: { code: "ETIMEDOUT" } });
    expect(injection.fired).toBe(2);
  });

  test("a service that is not there", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    await hub.server.close();
    for (const { run } of Object.values(calls)) await expect(run(bucket)).rejects.toMatchObject(unavailable);
  });

  test("an answer that makes no sense", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    const nonsense: [string, unknown][] = [
      ["GET tree", { not: "a list" }],
      ["GET tree", [{ type: "file", path: "a", size: "large" }]],
      ["POST paths-info", { not: "a list" }],
      ["POST paths-info", [{ type: "file", path: "a", size: -1 }]],
      ["GET xet-read-token", { accessToken: "", casUrl: "x" }],
      ["GET resolve", {}],
      ["GET reconstructions", {}],
    ];
    for (const [route, body] of nonsense) {
      const call = each.find((one) => one.route === route);
      const injection = hub.server.faults.inject(route, { kind: "status", status: 200, body });
      await expect(call?.run(bucket), route).rejects.toMatchObject(unavailable);
      expect(injection.fired).toBe(1);
    }
  });
});

describe("what arrives is checked", () => {
  test("a changed bit in what is read is told, also where the library gives it as good", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    for (const kind of ["corrupt", "truncate"] as const) {
      const injection = hub.server.faults.inject("GET xorb ranges", { kind }, { times: 3 });
      await expect(bucket.get("a")).rejects.toMatchObject(unavailable);
      expect(injection.fired).toBeGreaterThan(0);
      hub.server.faults.clear();
    }
    expect((await bucket.get("a"))?.equals(A.bytes)).toBe(true);
  });

  test("a changed bit in what is sent is refused by the service, and nothing is there", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    hub.server.faults.inject("POST shards", { kind: "status", status: 400 });
    await expect(bucket.put([B])).rejects.toMatchObject({ code: "unavailable", retryable: false });
    expect(await listed(bucket)).toEqual(["a"]);
    hub.forgive();
  });

  test("a batch of which a part is refused says why, and may be put again", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    const body = { success: false, processed: 1, succeeded: 0, failed: [{ path: "b", error: "the disk is full" }] };
    hub.server.faults.inject("POST batch", { kind: "status", status: 422, body });
    await expect(bucket.put([B])).rejects.toMatchObject({
      ...unavailable,
      message: /refused 1 of them: the disk is full/,
    });
    await bucket.put([B]);
    expect(await listed(bucket)).toEqual(["a", "b"]);
  });

  test("deleting what is not there is no error, whatever the service thinks of it", async () => {
    for (const missingDelete of ["fail", "pass"] as const) {
      const hub = await startHub({ manners: { missingDelete } });
      const bucket = await filled(hub);
      await bucket.delete(["none", "a", "none/either"]);
      await bucket.delete(["none"]);
      expect(await listed(bucket)).toEqual([]);
    }
  });

  test("a service that takes no part of a batch with a missing file: the others are deleted all the same", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    const failed = [{ path: "none", error: "no such file" }];
    const body = { success: false, processed: 2, succeeded: 0, failed };
    hub.server.faults.inject("POST batch", { kind: "status", status: 422, body });
    await bucket.delete(["none", "a"]);
    expect(await listed(bucket)).toEqual([]);
  });
});

describe("time and tokens of the CAS", () => {
  test("a token that the CAS refuses is renewed, for reading and for writing", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    await bucket.get("a");
    await bucket.put([B]);
    hub.server.tokens.expireAll();
    hub.server.log.take();
    await bucket.put([{ path: "c", bytes: someBytes(10) }]);
    expect((await bucket.get("a"))?.equals(A.bytes)).toBe(true);
    expect(asked(hub).filter((route) => /token/.test(route))).toEqual(["GET xet-write-token", "GET xet-read-token"]);
  });

  test("one that lives long is asked for once, one that ends soon each time", async () => {
    for (const [xetTokenLife, tokens] of [
      [900, 1],
      [50, 2],
    ] as const) {
      const hub = await startHub({ xetTokenLife });
      const bucket = await filled(hub);
      await bucket.put([B]);
      await bucket.put([{ path: "c", bytes: someBytes(10) }]);
      expect(asked(hub).filter((route) => /token/.test(route)).length).toBe(tokens);
    }
  });

  test("reads at the same time ask for one token", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    await Promise.all([1, 2, 3].map(() => bucket.get("a")));
    expect(asked(hub).filter((route) => /token/.test(route))).toEqual(["GET xet-read-token"]);
  });

  test("a signed URL that has become too old is asked for again", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    const injection = hub.server.faults.inject("GET xorb ranges", { kind: "status", status: 403 });
    expect((await bucket.get("a"))?.equals(A.bytes)).toBe(true);
    expect(injection.fired).toBe(1);
    hub.server.faults.inject("GET xorb ranges", { kind: "status", status: 403 }, { times: 9 });
    await expect(bucket.get("a")).rejects.toMatchObject(unavailable);
  });

  test("close ends what is under way", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    const hang = hub.server.faults.inject("POST xorbs", { kind: "hang" });
    const put = expect(bucket.put([B])).rejects.toMatchObject({ code: "unavailable", message: /closed/ });
    await expect.poll(() => hang.fired).toBe(1);
    await bucket.close();
    await put;
    await expect(bucket.get("a")).rejects.toMatchObject({ code: "unavailable", message: /closed/ });
  });
});

describe("several machines", () => {
  test("one that wrote other bytes between our look and our write is found out, unless we looked before it", async () => {
    const hub = await startHub();
    const ours = await filled(hub);
    const run = (): void => hub.server.seed("me/vault", "b", Buffer.from(B.bytes.toReversed()));

    // After our write, before our second look: we are told.
    hub.server.faults.inject("POST paths-info", { kind: "meanwhile", run }, { at: 2 });
    await expect(ours.put([B])).rejects.toMatchObject({ code: "conflict", details: { path: "b" } });
    await ours.delete(["b"]);
    // Between our look and our write: theirs is lost, and their second look would tell them.
    hub.server.faults.inject("POST batch", { kind: "meanwhile", run });
    await ours.put([B]);
    expect(await ours.get("b")).toEqual(B.bytes);
  });

  test("puts of one process follow one another", async () => {
    const hub = await startHub();
    const buckets = [await filled(hub), await hub.open(), await hub.open(`${URI}/p`)];
    hub.server.log.take();
    await Promise.all(buckets.map((bucket, i) => bucket.put([{ path: `x${i}`, bytes: Buffer.from(`${i}`) }])));
    expect(asked(hub)).toEqual(buckets.flatMap(() => calls["put"]?.routes));
  });

  test("a list that lags hides what was put, and reading gives it", async () => {
    const hub = await startHub({ manners: { listLag: 1 } });
    const bucket = await filled(hub);
    await bucket.put([B]);
    expect(await listed(bucket)).toEqual(["a"]);
    expect(await bucket.get("b")).toEqual(B.bytes);
    hub.server.manners.listLag = 0;
    expect(await listed(bucket)).toEqual(["a", "b"]);
  });

  test("a folder of a bucket shows nothing of its neighbours", async () => {
    const hub = await startHub();
    const [all, one, two] = [await hub.open(), await hub.open(`${URI}/one`), await hub.open(`${URI}/on`)];
    for (const bucket of [all, one, two]) await bucket.put([B]);
    expect(await listed(all)).toEqual(["b", "on/b", "one/b"]);
    expect(await listed(one)).toEqual(["b"]);
    expect(await listed(two)).toEqual(["b"]);
    expect(await one.sizes(["b", "one/b"])).toEqual(new Map([["b", 5]]));
    await two.delete(["b"]);
    expect(await listed(all)).toEqual(["b", "one/b"]);
  });

  test("a path that a service can't have: another kind of answer is not one of missing files", async () => {
    const hub = await startHub();
    const bucket = await filled(hub);
    const headers = { "X-Error-Code": "EntryNotFound" };
    hub.server.faults.inject("GET tree", { kind: "status", status: 404, headers });
    expect(await listed(bucket, "none/")).toEqual([]);
    hub.server.faults.inject("GET tree", { kind: "status", status: 404 });
    await expect(listed(bucket)).rejects.toMatchObject({ code: "unavailable", retryable: false });
  });
});

test("a failed upload of many files leaves nothing of the library running", async () => {
  const hub = await startHub();
  const bucket = await filled(hub);
  const files = Array.from({ length: 40 }, (_, i) => ({ path: `f${i}`, bytes: Buffer.from(`${i}`) }));
  for (const route of ["GET xet-write-token", "POST xorbs", "POST shards", "POST batch"]) {
    hub.server.faults.inject(route, { kind: "status", status: 403 }, { times: 99 });
    await expect(bucket.put(files), route).rejects.toMatchObject({ code: "denied" });
    hub.server.faults.clear();
  }
  const timers = vi.spyOn(globalThis, "setTimeout");
  onTestFinished(() => timers.mockRestore());
  await sleep(30);
  expect(timers.mock.calls.filter(([, ms]) => ms === 1)).toEqual([]);
  await bucket.put(files);
});

test("a commit of several files is smaller than what one worker holds", async () => {
  const hub = await startHub();
  const bucket = await filled(hub);
  const files = [25, 25, 1].map((mib, i) => ({ path: `f${i}`, bytes: Buffer.alloc(mib << 20, i) }));
  await bucket.put(files);
  expect(asked(hub).filter((route) => route === "POST batch").length).toBe(2);
  expect([...(await bucket.sizes(files.map(({ path }) => path))).values()]).toEqual(
    files.map(({ bytes }) => bytes.length),
  );
});

test("many files go in as few commits as the service allows, and a small push in few bytes", async () => {
  const hub = await startHub();
  const bucket = await filled(hub);
  const files = Array.from({ length: 130 }, (_, i) => ({ path: `many/${i}`, bytes: Buffer.from(`file ${i}`) }));
  await bucket.put(files);
  expect(asked(hub).filter((route) => route === "POST batch").length).toBe(2);
  await bucket.put(files);
  expect(asked(hub)).toEqual(["POST paths-info"]);
  await bucket.put([{ path: "x", bytes: someBytes(1) }]);
  hub.server.log.take();
  await bucket.put([{ path: "head", bytes: someBytes(1000) }]);
  const total = report(hub.server.log.take()).at(-1);
  expect(total?.requests).toBe(5);
  expect(total?.up).toBeLessThan(4500);
});
