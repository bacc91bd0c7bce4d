import { chmod, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { canonicalJson, parseCanonicalJson, sha256 } from "@vlinder/protocol";
import { expect, test } from "vitest";
import { openDevice } from "../../src/sync/vault/device.ts";
import { encodeHead, type HeadBody } from "../../src/sync/head.ts";
import { Machine, tempBucket } from "./machine.ts";

test.each([
  ["device-key", 1],
  ["devices.json", 2],
  ["bucket.json", 1],
] as const)("sync/%s of a newer release is refused by name, and stays as it is", async (name, known) => {
  const machine = await Machine.start();
  await machine.sync.init(await tempBucket());
  const file = join(machine.home, "sync", name);
  const before = parseCanonicalJson(await readFile(file), name) as Record<string, string>;
  expect(before["v"]).toBe(1);
  const newer = canonicalJson({ ...before, more: "of a later day", v: known + 1 });
  await writeFile(file, newer);
  await chmod(file, 0o600);
  await expect(machine.restart()).rejects.toMatchObject({
    code: "invalid",
    message: `${file} has version ${known + 1}; this release knows ${known}`,
    remedy: expect.stringContaining("update"),
  });
  expect(await readFile(file, "utf8")).toBe(newer);
  await writeFile(file, canonicalJson(before));
  await machine.restart();
});

test("a vault, a head and a pack of a newer release are refused by name, with what to do, and stay", async () => {
  const uri = await tempBucket();
  const folder = fileURLToPath(uri);
  const [writer, reader] = [await Machine.start(), await Machine.start()];
  for (const machine of [writer, reader]) await machine.sync.init(uri);
  (await writer.add()).put("/first", "1");
  await writer.push();
  const files = await readdir(folder, { recursive: true });
  const remedy = expect.stringContaining("update");

  const pack = files.find((name) => name.endsWith(".pack")) as string;
  const newerPack = await readFile(join(folder, pack));
  newerPack[6] = 2;
  const name = sha256(newerPack);
  const head = files.find((path) => path.includes("heads") && path.endsWith(".json")) as string;
  const text = await readFile(join(folder, head), "utf8");
  const newerHead = text.replace('"v":1}', '"v":2}');
  const otherHead = join(folder, dirname(head), `9-${sha256(newerHead)}.json`);
  await writeFile(otherHead, newerHead);
  await reader.pull();
  const refused = reader.log.find((line) => line.includes("refused a head"));
  expect(refused).toContain(`9-${sha256(newerHead)}.json`);
  expect(refused).toContain("format 2");
  expect(refused).toContain("update");

  // A head of this release that names a newer pack, as a device of both releases would write it.
  const device = await openDevice(writer.home, writer.device);
  const { body } = JSON.parse(text) as { body: HeadBody };
  const next = encodeHead({ ...body, n: 2, packs: [name], predecessors: [sha256(text)] }, device);
  await writeFile(join(folder, dirname(pack), `${name}.pack`), newerPack);
  await writeFile(join(folder, dirname(head), `2-${next.hash}.json`), next.bytes);
  const late = await Machine.start();
  await late.sync.init(uri);
  expect(await late.pull()).toMatchObject({
    error: { code: "invalid", message: expect.stringContaining(`pack ${name} of todo: the pack has format 2`) },
    branches: [],
  });

  const vault = join(folder, "vault.json");
  await writeFile(vault, (await readFile(vault, "utf8")).replace('"format":1', '"format":3'));
  const message = `the bucket ${uri} has no good vault.json: vault.json has format 3; this release knows 1 and 2`;
  await expect((await Machine.start()).sync.init(uri)).rejects.toMatchObject({ code: "invalid", message, remedy });
});

test("a bucket.json without a version, as the first release wrote it, is read", async () => {
  const machine = await Machine.start();
  const uri = await tempBucket();
  await machine.sync.init(uri);
  await writeFile(join(machine.home, "sync/bucket.json"), canonicalJson({ uri }));
  await machine.restart();
  expect(machine.sync.bucket).toBe(uri);
});
