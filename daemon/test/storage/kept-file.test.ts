import { closeSync, existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { KeptFile } from "../../src/storage/backends/sqlite/kept-file.ts";
import type { Kept, KeptTransaction } from "../../src/storage/object-storage.ts";
import { hashOf, openSqlite, temporaryFolder, value } from "./samples.ts";

const BASE = value("the commit that all began from");

function begun(name: string, size = 0): KeptTransaction {
  const commit = { kind: "commit", hash: hashOf(`commit ${name}`), bytes: Buffer.from(`commit ${name}`) } as const;
  return {
    objects: [commit, value(`input of ${name}`, size)],
    replies: [{ id: name, request: hashOf("asked"), reply: `"${name}"`, time: 1_700_000_000_000 }],
    notes: [{ name: `turn/${name}`, bytes: Buffer.from(name) }],
    commit: commit.hash,
    base: BASE.hash,
  };
}

const names = (transactions: readonly KeptTransaction[]): string[] =>
  transactions.map(({ replies }) => replies[0]?.id ?? "");

async function newPath(): Promise<string> {
  return join(await temporaryFolder(), "objects.db-kept");
}

test("what was kept and not dropped is read back as it was, in its order", async () => {
  const path = await newPath();
  const file = new KeptFile(path);
  const kept = ["a", "b", "c", "d"].map((name) => file.keep(begun(name, 200)));
  kept[1]?.drop();
  kept[1]?.drop();
  const left = KeptFile.left(path);
  expect(names(left)).toEqual(["a", "c", "d"]);
  expect(left[0]).toEqual(begun("a", 200));
  expect(readFileSync(path).includes("input of b"), "its bytes are gone").toBe(false);
  expect(readFileSync(path).includes("input of c")).toBe(true);
  kept[0]?.drop();
  kept[2]?.drop();
  file.keep(begun("e"));
  expect(names(KeptFile.left(path))).toEqual(["d", "e"]);
});

test("it begins anew when nothing is needed any more, whatever the lengths of before", async () => {
  const path = await newPath();
  const file = new KeptFile(path);
  for (let round = 0; round < 200; round++) {
    const now = Array.from({ length: 1 + (round % 3) }, (_, n) => `${round}-${n}`);
    const kept = now.map((name, n) => file.keep(begun(name, ((round * 37 + n * 11) % 90) * 8)));
    expect(names(KeptFile.left(path))).toEqual(now);
    for (const one of kept) one?.drop();
    expect(KeptFile.left(path)).toEqual([]);
  }
  expect(readFileSync(path).length).toBeLessThan(8000);
  expect(readFileSync(path).includes("input")).toBe(false);
  file.close();
  expect(existsSync(path)).toBe(false);
});

test("from a damaged or cut file comes what is before the damage, and nothing else", async () => {
  const path = await newPath();
  const file = new KeptFile(path);
  for (const name of ["a", "b", "c"]) file.keep(begun(name));
  const whole = readFileSync(path);
  const second = 9 + whole.readUInt32LE(0);
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] as number) ^ 0x41;
    writeFileSync(path, bytes);
    // A version that is not known is not damage.
    if ([0, second, 2 * second].includes(at - 4)) {
      expect(() => KeptFile.left(path)).toThrow("this release knows 1");
      continue;
    }
    const left = names(KeptFile.left(path));
    expect([[], ["a"], ["a", "b"], ["a", "c"], ["b", "c"]], `byte ${at}`).toContainEqual(left);
    if (at >= second) expect(left[0]).toBe("a");
    writeFileSync(path, whole.subarray(0, at));
    expect(["a", "b", "c"].slice(0, names(KeptFile.left(path)).length)).toEqual(names(KeptFile.left(path)));
  }
  writeFileSync(path, "");
  expect(KeptFile.left(path)).toEqual([]);
});

test("what is too large, too much, or has no file of its own is not kept", async () => {
  const path = await newPath();
  const file = new KeptFile(path);
  expect(file.keep(begun("large", 70_000))).toBeNull();
  const kept: (Kept | null)[] = [];
  for (let n = 0; n < 40; n++) kept.push(file.keep(begun(`${n}`, 60_000)));
  expect(kept.filter((one) => one === null).length).toBeGreaterThan(20);
  expect(names(KeptFile.left(path))).toEqual(kept.flatMap((one, n) => (one === null ? [] : [`${n}`])));
  expect(new KeptFile(path).keep(begun("other"))).toBeNull();
  expect(new KeptFile(join(path, "no folder")).keep(begun("other"))).toBeNull();
});

test.skipIf(process.platform !== "linux")("a disk that fails when it is dropped stops nobody", async () => {
  const path = await newPath();
  const file = new KeptFile(path);
  const kept = file.keep(begun("a"));
  const open = readdirSync("/proc/self/fd").find((fd) => isLink(`/proc/self/fd/${fd}`, path));
  closeSync(Number(open));
  kept?.drop();
  expect(names(KeptFile.left(path))).toEqual(["a"]);
});

function isLink(link: string, to: string): boolean {
  try {
    return readlinkSync(link) === to;
  } catch {
    return false;
  }
}

test("what a process left is applied by the next opening, if it was not already", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  const first = await openSqlite(path);
  await first.apply({ objects: [{ ...BASE, kind: "commit" }], branches: [], replies: [] });
  const kept = ["open", "stored", "dropped"].map((name) => first.keep?.(begun(name)));
  expect(kept).not.toContain(null);
  kept[2]?.drop();
  const { objects } = begun("stored");
  await first.apply({ objects, branches: [], replies: [] });
  kept.push(first.keep?.({ ...begun("elsewhere"), base: hashOf("another database") }));
  // The process is gone: nothing is closed.
  const warnings: string[] = [];
  const next = await openSqlite(path, { warn: ({ message }) => warnings.push(message) });
  expect((await next.notes("turn/")).map(({ name }) => name)).toEqual(["turn/open"]);
  expect(await next.reply("open")).toMatchObject({ reply: '"open"' });
  expect(await next.reply("stored")).toBeNull();
  expect(await next.read("commit", [begun("open").commit, begun("elsewhere").commit])).toEqual([
    Buffer.from("commit open"),
    null,
  ]);
  expect(warnings).toEqual([expect.stringContaining(hashOf("another database"))]);
  // Who lives on keeps in a file that nobody reads, and takes no other's away.
  expect(next.keep?.(begun("next"))).not.toBeNull();
  for (const one of kept) one?.drop();
  await first.close();
  expect(names(KeptFile.left(`${path}-kept`))).toEqual(["next"]);
});

test("a file of a newer release is left alone, and said", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  new KeptFile(`${path}-kept`).keep(begun("a"));
  const bytes = readFileSync(`${path}-kept`);
  bytes[4] = 2;
  writeFileSync(`${path}-kept`, bytes);
  const warnings: string[] = [];
  const storage = await openSqlite(path, { warn: ({ message }) => warnings.push(message) });
  expect(warnings).toEqual([expect.stringContaining("of format 2; this release knows 1")]);
  expect(storage.keep?.(begun("b"))).toBeNull();
  await storage.close();
  expect(readFileSync(`${path}-kept`)).toEqual(bytes);
});
