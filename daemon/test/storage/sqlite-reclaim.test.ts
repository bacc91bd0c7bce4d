import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openObjectStorage } from "../../src/storage/objects.ts";
import { noise } from "../state/property.ts";
import { hashOf, objects } from "./samples.ts";

test("the file shrinks by steps, and what was removed is in no file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-reclaim-"));
  const path = join(folder, "objects.db");
  const storage = await openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "disk" });
  try {
    const secret = Buffer.from("the secret that must go");
    const values = Array.from({ length: 500 }, (_, i) => Buffer.concat([noise(i, 8000), secret]));
    await storage.apply(objects(...values.map((bytes) => ({ kind: "value" as const, hash: hashOf(bytes), bytes }))));
    const before = (await storage.usage()).bytes;
    await storage.remove("value", values.map(hashOf));
    let steps = 0;
    while ((await storage.reclaim(256 * 1024)) > 0) steps++;
    expect(steps).toBeGreaterThan(8);
    expect((await storage.usage()).bytes).toBeLessThan(before / 10);
    expect((await stat(path)).size).toBeLessThan(before / 10);
    for (const file of [path, `${path}-wal`]) expect((await readFile(file)).includes(secret)).toBe(false);
  } finally {
    await storage.close();
    await rm(folder, { recursive: true });
  }
});
