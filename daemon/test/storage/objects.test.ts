import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { openObjectStorage } from "../../src/storage/objects.ts";
import { has, objects, refusal, temporaryFolder, value } from "./samples.ts";

const durability = "process";

test("opens the backend that the scheme names", async () => {
  const path = join(await temporaryFolder(), "objects.db");
  for (const options of [
    { scheme: "sqlite", path, uri: `sqlite://${path}`, shown: "sqlite://objects.db" },
    { scheme: "memory", path: null, uri: "memory://scratch" },
  ]) {
    const storage = await openObjectStorage({ ...options, durability });
    await storage.apply(objects(value(1)));
    expect(await has(storage, value(1))).toBe(true);
    expect(storage.uri).toBe(options.shown ?? options.uri);
    await storage.close();
  }
});

test("a package can bring another scheme", async () => {
  const folder = await temporaryFolder();
  const [good, empty] = [join(folder, "good.mjs"), join(folder, "empty.mjs")];
  const memory = new URL("../../src/storage/backends/memory.ts", import.meta.url).href;
  await writeFile(
    good,
    `import { MemoryObjects } from ${JSON.stringify(memory)};
     export const openObjectStorage = async (uri) => new MemoryObjects(uri);`,
  );
  await writeFile(empty, "export {};");
  const backends = {
    good: pathToFileURL(good).href,
    empty: pathToFileURL(empty).href,
    absent: "vlinder-backend-that-is-not-installed",
  };
  const open = (scheme: string) =>
    openObjectStorage({ scheme, path: null, uri: `${scheme}://x`, durability, backends });
  expect((await open("good")).uri).toBe("good://x");
  expect(await refusal(open("empty"))).toMatchObject({ code: "invalid" });
  expect(await refusal(open("absent"))).toMatchObject({
    code: "unavailable",
    remedy: expect.stringContaining("npm install"),
  });
  const unknown = await refusal(open("redis"));
  expect(unknown).toMatchObject({ code: "invalid", remedy: expect.stringMatching(/sqlite:.*memory:.*good:/) });
});
