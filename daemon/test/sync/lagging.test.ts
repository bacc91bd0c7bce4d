import { expect, test } from "vitest";
import type { Bucket } from "../../src/sync/buckets/bucket.ts";
import { openBucket } from "../../src/sync/buckets/open.ts";
import { Machine, tempBucket } from "./machine.ts";
import { noise } from "./noise.ts";

/** Lists nothing that `isHidden` says, as a service of which the lists come behind. */
function lagging(machine: Machine, isHidden: (path: string) => boolean): void {
  machine.wrap = (bucket: Bucket): Bucket => ({
    uri: bucket.uri,
    get: (path, range) => bucket.get(path, range),
    put: (files) => bucket.put(files),
    putFile: (path, source, memory) => bucket.putFile(path, source, memory),
    sizes: (paths) => bucket.sizes(paths),
    list: async function* (prefix) {
      for await (const entry of bucket.list(prefix)) if (!isHidden(entry.path)) yield entry;
    },
    delete: (paths) => bucket.delete(paths),
    revision: () => bucket.revision(),
    close: () => bucket.close(),
  });
}

async function pair(): Promise<[Machine, Machine]> {
  const uri = await tempBucket();
  const [a, b] = [await Machine.start(), await Machine.start()];
  for (const machine of [a, b]) await machine.sync.init(uri);
  await a.add();
  for (let i = 0; i < 4; i++) {
    a.todo.put(`/${i}`, noise(i, 100_000));
    await a.push();
  }
  await b.syncAll();
  return [a, b];
}

test("packs that a list does not show yet are not sent again: whether they are there is asked", async () => {
  const [a, b] = await pair();
  for (const hidden of [/\.pack$/, /heads/, /^agents/]) {
    lagging(a, (path) => hidden.test(path));
    a.todo.put(`/small ${hidden}`, "1");
    const pushed = await a.push();
    expect(pushed.error).toBeNull();
    expect(pushed.bytes).toBeLessThan(4000);
    expect((await a.sync.status()).agents[0]?.notes.join()).not.toContain("lacks");
  }
  lagging(a, () => false);
  for (const machine of [a, b, a]) await machine.syncAll();
  expect(a.todo.head()).toBe(b.todo.head());
});

test("an old list is not taken for a bucket that was rolled back", async () => {
  const [a, b] = await pair();
  const bucket = await openBucket(a.sync.bucket ?? "");
  const heads = async (): Promise<string[]> => {
    const paths: string[] = [];
    for await (const { path } of bucket.list("agents/todo/heads/")) paths.push(path);
    return paths.filter((path) => path.includes(a.sync.device));
  };
  const pushed = async (key: string): Promise<string> => {
    const before = await heads();
    a.todo.put(key, "1");
    await a.push();
    return (await heads()).find((path) => !before.includes(path)) as string;
  };
  const [old = ""] = await heads();
  const bytes = (await bucket.get(old)) as Buffer;
  const seen = await pushed("/second");
  await b.pull();
  // As it was while a pull had read the list: the old head is there still.
  await bucket.put([{ path: old, bytes }]);
  lagging(b, (path) => path === seen);
  expect((await b.pull()).notes.join()).not.toContain("rolled back");

  lagging(b, () => false);
  await pushed("/third");
  await bucket.put([{ path: old, bytes }]).catch(() => undefined);
  let lists = 0;
  // Only the first list is old.
  lagging(b, (path) => path.includes(`/heads/${a.sync.device}/`) && path !== old && lists++ === 0);
  expect((await b.pull()).notes.join()).not.toContain("rolled back");
  expect(lists).toBe(2);
  await b.pull();
  expect(b.todo.head()).toBe(a.todo.head());
});
