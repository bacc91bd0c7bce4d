import { type Damage, decodeChunkList, type Hash, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { deepValue, openEngine, putDeep } from "./harness.ts";
import { noise } from "./property.ts";

/** What an engine says that has nothing of the storage in its caches. */
async function damageOf(storage: ObjectStorage): Promise<readonly Damage[]> {
  return (await (await openEngine({ storage, contract: null })).engine.verify()).damage;
}

test("a large value whose lists are on many levels is intact, and each of its parts is looked at", async () => {
  const { engine, storage } = await openEngine();
  const bytes = noise(8, 400_000);
  const { state } = await putDeep({ engine, storage }, "/deep", bytes);
  const lists = deepValue(bytes).filter(({ kind }) => kind === "list");
  expect(decodeChunkList(lists.at(-1)?.bytes as Uint8Array).level).toBeGreaterThanOrEqual(3);
  expect(await engine.verify()).toMatchObject({ damaged: 0, unreachable: 0 });
  const hash = lists[0]?.hash as Hash;
  await storage.remove("list", [hash]);
  expect(await damageOf(storage)).toMatchObject([
    { kind: "list", hash, problem: "missing", commits: [state], keys: ["/deep"] },
  ]);
});

test("sizes that are wrong in a list are found, also where the value begins as one that was looked at before", async () => {
  const { engine, storage } = await openEngine();
  const [bytes, more] = [noise(8, 700_000), noise(9, 300_000)];
  await putDeep({ engine, storage }, "/grown", bytes, 1000);
  await putDeep({ engine, storage }, "/grown", Buffer.concat([bytes, more]), 1000);
  await putDeep({ engine, storage }, "/deep", Buffer.concat([more, bytes]));
  expect(await damageOf(storage)).toEqual([]);
  for (const value of [Buffer.concat([bytes, more]), Buffer.concat([more, bytes])]) {
    const hash = sha256(value);
    const [list] = await storage.read("list", [hash]);
    const wrong = Buffer.from(list as Uint8Array);
    // Of two parts, so that they add up all the same.
    wrong.writeBigUInt64LE(wrong.readBigUInt64LE(48) + 1n, 48);
    wrong.writeBigUInt64LE(wrong.readBigUInt64LE(88) - 1n, 88);
    for (const [now, found] of [
      [wrong, [{ kind: "list", hash }]],
      [list as Uint8Array, []],
    ] as const) {
      await storage.remove("list", [hash]);
      await storage.apply({ objects: [{ kind: "list", hash, bytes: now }], branches: [], replies: [] });
      expect(await damageOf(storage)).toMatchObject(found);
    }
  }
});
