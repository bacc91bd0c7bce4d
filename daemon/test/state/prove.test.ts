import { type BranchName, checkProof, type Hash, hashSnapshot, MAIN, parseKey, type Proven } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { openEngine, put } from "./harness.ts";

test("proves of real trees, between stored ones too, on branches and in the past", async () => {
  const { engine, clock } = await openEngine();
  const write = async (values: Record<string, string | null>, branch: BranchName = MAIN): Promise<Hash> => {
    clock.tick();
    return (await put(engine, values, branch)) as Hash;
  };
  const proven = async (at: Hash, text: string): Promise<Proven> => {
    const key = parseKey(text);
    const proof = await engine.prove(at, "kv", key);
    const found = checkProof(JSON.parse(JSON.stringify(proof)), { key, trusted: { commit: at } });
    const { snapshot } = await engine.view(at);
    expect(checkProof(proof, { key, trusted: { snapshot: hashSnapshot(snapshot) } })).toEqual(found);
    const entry = await (await engine.view(at)).get("kv", key);
    expect(found).toEqual(entry === null ? { present: false } : { present: true, hash: entry.hash, size: entry.size });
    return found;
  };
  const empty = engine.branch(MAIN).head;
  expect(await proven(empty, "/k/1")).toEqual({ present: false });
  const many = await write(Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`/k/${i}`, `value ${i}`])));
  for (let i = 0; i < 3000; i += 211) expect(await proven(many, `/k/${i}`)).toMatchObject({ present: true });
  for (const key of ["/", "/k/", "/k/1x", "/k/2999x", "/z", "\u{1F600}"]) await proven(many, key);
  expect((await engine.prove(many, "kv", parseKey("/k/7"))).nodes.length).toBeGreaterThan(1);
  const later = await write({ "/k/7": "another", "/k/8": null });
  expect(await proven(later, "/k/8")).toEqual({ present: false });
  expect(await proven(many, "/k/8")).toMatchObject({ present: true });
  await engine.fork("side" as BranchName, many);
  const side = await write({ "/only/here": "x" }, "side" as BranchName);
  expect(await proven(side, "/only/here")).toMatchObject({ present: true, size: 1 });
  expect(await proven(later, "/only/here")).toEqual({ present: false });
  await expect(engine.prove("f".repeat(64) as Hash, "kv", parseKey("/a"))).rejects.toMatchObject({ code: "internal" });
});
