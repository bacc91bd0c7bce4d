import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { comparable, shownBlocks, withBlocks } from "../../../test/harness/shown-blocks.ts";
import { documentOf, type Ran, temporary, vlinder } from "./harness.ts";

const DOCUMENT = new URL("../../../docs/encryption.md", import.meta.url);

let folder: Awaited<ReturnType<typeof temporary>>;
let bucket: string;

beforeEach(async () => {
  folder = await temporary();
  bucket = join(folder.path, "bucket");
  process.env["VLINDER_URL"] = "";
});
afterEach(() => folder.remove());

/** A command on one of the machines, none of which has a daemon running. */
function on(machine: string, line: readonly string[], stdin?: string): Promise<Ran> {
  process.env["VLINDER_HOME"] = join(folder.path, machine);
  return vlinder(line, stdin === undefined ? {} : { stdin: [Buffer.from(stdin)] });
}

const json = async (machine: string, line: readonly string[], stdin?: string): Promise<Record<string, unknown>> =>
  documentOf(await on(machine, [...line, "--json"], stdin));

test("a vault is made, joined in both ways, left and rotated; every document of --json is whole", async () => {
  const made = await json("laptop", ["init", bucket, "--encrypt", "--name", "laptop"]);
  expect(made).toMatchObject({ created: true, encrypted: true, recovery: expect.stringMatching(/^AGE-SECRET-KEY-1/) });
  const { request, fingerprint, device } = await json("desk", ["vault", "request", "--name", "desk"]);
  const added = await json("laptop", ["vault", "add", String(request)]);
  expect(added).toMatchObject({ device, fingerprint, name: "desk", added: true });
  expect(await json("desk", ["init", bucket])).toMatchObject({ error: { code: "denied" } });
  await json("desk", ["init", bucket, "--vault", String(added["hash"]).slice(0, 32)]);
  const file = join(folder.path, "key.txt");
  await writeFile(file, `${String(made["recovery"])}\n`);
  expect(await json("phone", ["init", bucket, "--key", file])).toMatchObject({ created: false, recovery: null });
  const listed = (await json("phone", ["vault", "devices"])) as { items: { name: string; self: boolean }[] };
  expect(listed.items.map(({ name }) => name)).toEqual(expect.arrayContaining(["laptop", "desk"]));
  expect(listed.items.filter(({ self }) => self)).toHaveLength(1);
  // One that a device can't outrank is taken out by the recovery key.
  const taken = await json(
    "desk",
    ["vault", "distrust", String(device).slice(0, 6), "--key", "-"],
    String(made["recovery"]),
  );
  expect(taken).toMatchObject({ error: { code: "conflict" } });
  const laptop = listed.items.find(({ name }) => name === "laptop") as unknown as { device: string };
  expect(await json("desk", ["vault", "distrust", laptop.device, "--key", "-"], String(made["recovery"]))).toEqual({
    device: laptop.device,
    changed: true,
    everywhere: true,
  });
  expect(await json("laptop", ["vault", "rotate"])).toMatchObject({ error: { code: "denied" } });
  const rotated = await json("phone", ["vault", "rotate"]);
  expect(rotated["recovery"]).not.toBe(made["recovery"]);
  expect(await json("watch", ["init", bucket, "--key", "-"], String(made["recovery"]))).toMatchObject({
    error: { code: "denied" },
  });
  await json("watch", ["init", bucket, "--key", "-"], `${String(rotated["recovery"])}\n`);
});

test("a recovery key is refused where it would be seen, and is in no file and no error", async () => {
  const { recovery } = await json("laptop", ["init", bucket, "--encrypt"]);
  const typed = await on("desk", ["init", bucket, "--key", String(recovery)]);
  expect(typed).toMatchObject({ code: 2, err: expect.stringContaining("not the key itself") });
  expect(typed.out + typed.err).not.toContain(String(recovery));
  expect(await on("desk", ["init", bucket, "--key", join(folder.path, "nowhere")])).toMatchObject({ code: 2 });
  const wrong = await on("desk", ["init", bucket, "--key", "-"], `${String(recovery).slice(0, -3)}QQQ`);
  expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining("a letter of this one is wrong") });
  for (const entry of await readdir(folder.path, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    expect(String(await readFile(join(entry.parentPath, entry.name)))).not.toContain(String(recovery).slice(16, 40));
  }
});

/** Keys and requests are others in each run. */
const settled = (text: string): string =>
  comparable(text)
    .replaceAll(/AGE-SECRET-KEY-1\w+…/g, "KEY")
    .replaceAll(/vlinder-request-1\.[\w-]+…/g, "WORD")
    .replaceAll(/([0-9a-f]{4} ){7}[0-9a-f]{4}/g, "FINGERPRINT")
    .replaceAll(/\d{4}-\d\d-\d\d/g, "DATE");

test("docs/encryption.md shows what is printed", async () => {
  let shown = "";
  const say = async (machine: string, line: string, given?: Record<string, string>): Promise<string> => {
    const words = line
      .split(" ")
      .slice(1)
      .map((word) => given?.[word] ?? word);
    const { out, err } = await on(
      machine,
      words.map((word) => (word === "/mnt/usb/vault" ? bucket : word)),
    );
    const text = (out + err).replaceAll(bucket, "/mnt/usb/vault");
    // Long words are cut: no document of ours has a key in it.
    shown += `${machine}$ ${line}\n${text.replaceAll(/(AGE-SECRET-KEY-1|vlinder-request-1\.)([\w-]{4})[\w-]+/g, "$1$2…")}`;
    return text;
  };
  await say("laptop", "vlinder init /mnt/usb/vault --encrypt --name laptop");
  const request = (await say("desk", "vlinder vault request --name desk")).split("\n")[0] as string;
  const added = await say("laptop", "vlinder vault add REQUEST", { REQUEST: request });
  const [, join_] = /vlinder (init .*)/.exec(added) as unknown as [string, string];
  await say("desk", `vlinder ${join_.replace("file:///mnt", "/mnt")}`);
  await say("laptop", "vlinder vault devices");
  const { device } = await json("desk", ["vault", "request"]);
  await say("laptop", "vlinder vault distrust DESK", { DESK: String(device).slice(0, 7) });
  await say("laptop", "vlinder vault rotate");
  const document = await readFile(DOCUMENT, "utf8");
  if (process.env["VLINDER_SHOW"] !== undefined) {
    await writeFile(DOCUMENT, withBlocks(document, new Map([["encryption", shown]])));
  }
  expect(settled(shown)).toBe(settled(shownBlocks(document).get("encryption") ?? ""));
});
