import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Machine, tempBucket, TODO } from "./machine.ts";

test("a bucket that is wished for is joined by the first that needs it, once", async () => {
  const bucket = await tempBucket();
  const machine = await Machine.start({ bucket });
  await machine.add();
  expect(machine.sync).toMatchObject({ bucket, isJoined: false });
  expect((await machine.sync.status()).vault).toBeNull();
  let opened = 0;
  machine.wrap = (one) => {
    opened++;
    return one;
  };
  await Promise.all([machine.sync.join(), machine.sync.join()]);
  expect(opened).toBe(1);
  expect((await machine.sync.push(TODO)).agents).toMatchObject([{ error: null }]);
  expect(machine.sync.isJoined).toBe(true);
});

test("a person's init ends the wish, and a home that has a bucket has none", async () => {
  const machine = await Machine.start({ bucket: await tempBucket() });
  const other = await tempBucket();
  await machine.sync.init(other);
  await machine.sync.join();
  expect(machine.sync.bucket).toBe(other);
  await machine.restart();
  expect(machine.sync).toMatchObject({ bucket: other, isJoined: true });
});

test("a home that was closed while it joined has not joined", async () => {
  const machine = await Machine.start({ bucket: await tempBucket() });
  const answer = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  machine.wrap = (one) =>
    new Proxy(one, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        if (key !== "get") return value.bind(target) as unknown;
        return async (...given: unknown[]): Promise<unknown> => {
          asked.resolve();
          await answer.promise;
          return await (value as (...args: unknown[]) => Promise<unknown>).apply(target, given);
        };
      },
    });
  const joining = expect(machine.sync.join()).rejects.toMatchObject({ code: "unavailable" });
  await asked.promise;
  const closing = machine.sync.close();
  answer.resolve();
  await Promise.all([joining, closing]);
  expect(existsSync(join(machine.home, "sync", "bucket.json"))).toBe(false);
});
