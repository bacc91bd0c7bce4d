import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SyncStatusReply } from "@vlinder/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HubServer } from "../../../test/harness/hub/server.ts";
import { S3Double } from "../../../test/harness/s3/s3-double.ts";
import { comparable, shownBlocks, withBlocks } from "../../../test/harness/shown-blocks.ts";
import { splitCommandLine } from "../../src/processes/command-line.ts";
import { documentOf, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";

// Machines with one memory, over a folder, then a Hub, then S3. What they print is what the documents of sync show; VLINDER_SHOW=1
// writes them anew. The tests go on from each other.

const TOKEN = "hf_writer";
const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
/** As the documents have it. */
const ENDPOINT = "http://nas.local:9000";

let folder: Awaited<ReturnType<typeof temporary>>;
let hub: HubServer;
let s3: S3Double;
let bucket: string;
const daemons: RunningDaemon[] = [];
const shown = new Map<string, string>();
let typed = "";

/** What the documents call something, and what it is in this run. */
const names = (): readonly (readonly [string, string])[] => [
  ["/mnt/usb/", `${folder.path}/usb/`],
  ["~/", `${folder.path}/`],
  [ENDPOINT, s3.endpoint],
];

/** A line that somebody types on a machine. What it prints is shown. */
async function on(machine: string, line: string, code = 0): Promise<string> {
  process.env["VLINDER_HOME"] = join(folder.path, machine);
  const words = names().reduce((text, [name, real]) => text.replaceAll(name, real), line);
  const ran = await vlinder(splitCommandLine(words).slice(1));
  const text = names().reduce((all, [name, real]) => all.replaceAll(real, name), ran.out + ran.err);
  expect([ran.code, ran.code === code ? "" : text], line).toEqual([code, ""]);
  typed += `${machine}$ ${line}\n${text}`;
  return text;
}

const status = async (): Promise<SyncStatusReply> =>
  documentOf(await vlinder(["sync", "status", "--json"])) as unknown as SyncStatusReply;

/** What was typed since is this block of a document. */
function show(block: string): void {
  shown.set(block, typed);
  typed = "";
}

beforeAll(async () => {
  folder = await temporary();
  bucket = join(folder.path, "usb", "vault");
  s3 = await S3Double.start(KEYS);
  hub = await HubServer.start({ people: { [TOKEN]: { name: "me", role: "write" } } });
  Object.assign(process.env, {
    VLINDER_URL: "",
    HF_TOKEN: TOKEN,
    HF_ENDPOINT: hub.url,
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
  });
  for (const name of ["usb", "todo"]) await mkdir(join(folder.path, name));
  await writeFile(join(folder.path, "todo", "agent.toml"), 'name = "todo"\nobject_storage = "sqlite://objects.db"\n');
  daemons.push(await startDaemon(join(folder.path, "laptop")));
}, 60_000);

afterAll(async () => {
  await Promise.all(daemons.map((daemon) => daemon.stop()));
  await Promise.all([hub.close(), s3.stop()]);
  await folder.remove();
});

test("two machines over a folder", { timeout: 120_000 }, async () => {
  await on("laptop", "vlinder init /mnt/usb/vault");
  show("init");
  await on("laptop", "vlinder agent add ~/todo");
  await on("laptop", "vlinder kv put todo /milk 1");
  await on("laptop", "vlinder kv put todo /eggs 6");
  typed = "";
  await on("laptop", "vlinder sync push");
  show("push");
  await on("desk", "vlinder clone /mnt/usb/vault");
  show("clone");
  daemons.push(await startDaemon(join(folder.path, "desk")));
  await on("desk", "vlinder kv put todo /eggs 12");
  await on("desk", "vlinder sync push");
  await on("laptop", "vlinder kv put todo /eggs 10");
  await on("laptop", "vlinder sync pull");
  await on("laptop", "vlinder sync push");
  await on("laptop", "vlinder sync pull");
  show("pull");
  await on("laptop", "vlinder kv put todo /bread 1");
  typed = "";
  await on("laptop", "vlinder sync status todo");
  show("status");
  await on("laptop", "vlinder sync drill");
  show("drill");
  await on("laptop", "vlinder sync databases");
  show("databases");
  const desk = (await status()).devices.find(({ self }) => !self)?.device ?? "";
  await on("laptop", `vlinder sync retire ${desk.slice(0, 7)}`);
  show("retire");
  expect((await status()).agents, "its head is deleted").toMatchObject([{ heads: [] }]);
});

test("without the folder", { timeout: 60_000 }, async () => {
  await rename(bucket, `${bucket}-away`);
  await on("laptop", "vlinder sync push", 1);
  await on("laptop", "vlinder kv put todo /jam 1");
  await on("laptop", "vlinder sync status");
  expect((await vlinder(["doctor"])).out).toMatch(/failed +bucket +there is no folder file:.*\n +what to do: mount/);
  await rename(`${bucket}-away`, bucket);
  await on("laptop", "vlinder sync push");
  show("lock");
});

test("a Hub", { timeout: 60_000 }, async () => {
  await on("laptop", "vlinder init me/vault");
  // All of it is owed to a bucket that was empty, and nobody has tried whether it comes back.
  expect(await status()).toMatchObject({ drill: null, agents: [{ owed: { commits: 9 }, pushed: null, notes: [] }] });
  await on("laptop", "vlinder sync push");
  await on("phone", "vlinder clone me/vault");
  show("hub");
  process.env["VLINDER_HOME"] = join(folder.path, "laptop");
  expect(await status()).toMatchObject({ agents: [{ owed: { commits: 0 }, notes: [] }] });
  expect(hub.log.entries.filter(({ status: code }) => [400, 405, 413, 415, 416].includes(code))).toEqual([]);
});

test("S3", { timeout: 60_000 }, async () => {
  await on("laptop", `vlinder init 's3://my-vault?endpoint=${ENDPOINT}'`);
  await on("laptop", "vlinder sync push");
  show("gateway");
  expect(s3.offences).toEqual([]);
});

test.for(["sync-commands", "sync", "huggingface", "s3"])("docs/%s.md shows what is printed", async (name) => {
  const file = new URL(`../../../docs/${name}.md`, import.meta.url);
  const document = await readFile(file, "utf8");
  if (process.env["VLINDER_SHOW"] !== undefined) await writeFile(file, withBlocks(document, shown));
  const documented = shownBlocks(await readFile(file, "utf8"));
  expect(documented.size).toBeGreaterThan(0);
  for (const [block, text] of documented) {
    expect(settled(text), block).toBe(settled(shown.get(block) ?? "nothing ran"));
    shown.delete(block);
  }
});

test("all that was shown is in a document", () => expect([...shown.keys()]).toEqual([]));

/** Names of copies have the time in them. */
const settled = (text: string): string => comparable(text).replaceAll(/-\d{8}T\d{9}Z-/g, "-TIME-");
