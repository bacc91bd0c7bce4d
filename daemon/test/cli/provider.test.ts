import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HttpProvider, json } from "../../../test/harness/http-provider.ts";
import { documentOf, type RunningDaemon, startDaemon, temporary, vlinder } from "./harness.ts";

const KEY = "key-of-the-command-line-0123456789";

let folder: Awaited<ReturnType<typeof temporary>>;
let home: string;
let daemon: RunningDaemon;
let server: HttpProvider;

beforeAll(async () => {
  folder = await temporary();
  server = await HttpProvider.start();
  home = join(folder.path, "home");
  process.env["VLINDER_HOME"] = home;
  for (const name of ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY"]) process.env[name] = "";
  daemon = await startDaemon(home);
}, 60_000);

afterAll(async () => {
  await daemon?.stop();
  await server?.stop();
  await folder?.remove();
});

const configure = (text: string): Promise<void> => writeFile(join(home, "config.toml"), text);

interface Listed {
  readonly items: readonly { provider: string; url: string; key: Record<string, unknown> }[];
}

async function listed(name: string): Promise<Listed["items"][number] | undefined> {
  const { items } = documentOf(await vlinder(["provider", "list", "--json"])) as unknown as Listed;
  return items.find(({ provider }) => provider === name);
}

test("a reload takes over what config.toml says of providers", async () => {
  expect(await listed("local")).toBeUndefined();
  await configure(`[providers.local]\nurl = "${server.url}"\nprotocol = "anthropic"\n`);
  expect((await vlinder(["reload"])).out).toContain("took effect: providers");
  expect(await listed("local")).toMatchObject({ url: server.url, protocol: "anthropic", key: { from: null } });
  expect((await vlinder(["reload"])).out).toContain("nothing that takes effect at once has changed");
  await configure("[providers.local]\nurl = 1\n");
  expect(await vlinder(["reload"])).toMatchObject({
    code: 1,
    err: expect.stringContaining("config.toml:2:7") as unknown,
  });
  await configure(`[providers.local]\nurl = "${server.url}"\nprotocol = "anthropic"\n`);
});

describe("provider set", () => {
  test("keeps what standard input has, for its owner only, and says it nowhere", async () => {
    const ran = await vlinder(["provider", "set", "local", "--json"], { stdin: [Buffer.from(`${KEY}\n`)] });
    const path = join(home, "creds", "providers", "local.key");
    expect(documentOf(ran)).toEqual({ provider: "local", path });
    expect(await readFile(path, "utf8")).toBe(`${KEY}\n`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await listed("local"))?.key).toEqual({ from: "stored", place: path, required: false, error: null });
  });

  test("asks on a terminal without showing what is typed", async () => {
    const modes: boolean[] = [];
    const typed = ["wrong\x15", "key-x\x7f", "typed\r", "more"].map((text) => Buffer.from(text));
    const ran = await vlinder(["provider", "set", "local"], {
      tty: true,
      stdin: typed,
      rawMode: (on) => modes.push(on),
    });
    expect(ran).toMatchObject({ code: 0, err: "Key of local (not shown): \n" });
    expect(modes).toEqual([true, false]);
    expect(await readFile(join(home, "creds", "providers", "local.key"), "utf8")).toBe("key-typed\n");
    expect(ran.out).not.toContain("key-typed");
  });

  test("Ctrl-C leaves the key that is there", async () => {
    const modes: boolean[] = [];
    const stdin = [Buffer.from("other\x03")];
    const ran = await vlinder(["provider", "set", "local"], { tty: true, stdin, rawMode: (on) => modes.push(on) });
    expect([ran.code, modes]).toEqual([2, [true, false]]);
    expect(await readFile(join(home, "creds", "providers", "local.key"), "utf8")).toBe("key-typed\n");
  });

  test.each([
    ["nothing", "local", "", 1, "holds no key"],
    ["two lines", "local", "a\nb", 1, "holds no key"],
    ["a provider that is none", "nobody", KEY, 2, 'there is no provider "nobody"'],
    ["a path as its name", "../../x", KEY, 2, "there is no provider"],
  ])("refuses %s", async (_what, name, text, code, message) => {
    const ran = await vlinder(["provider", "set", name], { stdin: [Buffer.from(text)] });
    expect(ran.code).toBe(code);
    expect(ran.err).toContain(message);
    expect(ran.err + ran.out).not.toContain(KEY);
  });

  test("refuses where config.toml names another place, and where the daemon may be on another machine", async () => {
    const before = await readFile(join(home, "config.toml"), "utf8");
    await configure(`${before}key_env = "LOCAL_KEY"\n`);
    const elsewhere = await vlinder(["provider", "set", "local"], { stdin: [Buffer.from(KEY)] });
    expect(elsewhere).toMatchObject({ code: 2, err: expect.stringContaining("is in LOCAL_KEY") as unknown });
    await configure(before);
    const env = { VLINDER_URL: "nats://elsewhere:4222" };
    const remote = await vlinder(["provider", "set", "local"], { stdin: [Buffer.from(KEY)], env });
    expect(remote).toMatchObject({ code: 2, err: expect.stringContaining("VLINDER_URL names a daemon") as unknown });
  });
});

describe("provider test", () => {
  test("uses the key that was set, and its exit code says whether it was taken", async () => {
    await vlinder(["provider", "set", "local"], { stdin: [Buffer.from(KEY)] });
    server.answering = json({ data: [] });
    const fine = await vlinder(["provider", "test", "local"]);
    expect(fine).toMatchObject({ code: 0, out: expect.stringMatching(/^ok local answered 200 in \d+ ms/) as unknown });
    expect(server.last).toMatchObject({ url: "/v1/models", headers: { "x-api-key": KEY } });
    server.answering = json({}, 401);
    const refused = await vlinder(["provider", "test", "local"]);
    expect(refused).toMatchObject({ code: 1, out: expect.stringContaining("refused the key (401)") as unknown });
    const machine = await vlinder(["provider", "test", "local", "--json"]);
    expect([machine.code, documentOf(machine)]).toMatchObject([
      1,
      { ok: false, status: 401, problem: { code: "denied" } },
    ]);
    expect(refused.out + refused.err + fine.out + machine.out).not.toContain(KEY);
  });

  test("of one without a key, and of one that is none", async () => {
    const missing = await vlinder(["provider", "test", "openai"]);
    expect(missing).toMatchObject({
      code: 1,
      out: expect.stringContaining("`vlinder provider set openai`") as unknown,
    });
    const none = await vlinder(["provider", "test", "nobody", "--json"]);
    expect([none.code, documentOf(none)]).toMatchObject([1, { error: { code: "invalid" } }]);
  });
});

test("vector search --text asks the agent's own embedding model, and is recorded as its call", async () => {
  await configure(`[providers.local]\nurl = "${server.url}"\n`);
  await vlinder(["reload"]);
  const dir = join(folder.path, "finder");
  await vlinder(["agent", "new", dir]);
  const declares =
    'name = "finder"\nobject_storage = "default"\nvector_storage = "default"\n[vectors]\ndimension = 2\n';
  await writeFile(join(dir, "agent.toml"), declares);
  await vlinder(["agent", "add", dir]);
  const search = (...more: string[]) =>
    vlinder(["vector", "search", "finder", "--text", "cups of tea", ...more, "--json"]);
  expect(documentOf(await search())).toMatchObject({ error: { code: "not_declared" } });
  await writeFile(
    join(dir, "agent.toml"),
    `${declares}[requirements.services.embed]\nprovider = "local"\nmodels = ["small"]\n`,
  );
  await vlinder(["agent", "add", dir]);
  const { connect } = await import("@vlinder/agent-runtime");
  const agent = await connect({ agent: "finder" });
  await agent.vectors.put("/tea", [1, 0]);
  await agent.vectors.put("/milk", [0, 1]);
  await agent.close();
  server.answering = json({ data: [{ embedding: [0.9, 0.1] }] });
  const found = documentOf(await search("-n", "1"));
  expect(found["items"]).toMatchObject([{ key: "/tea" }]);
  expect(JSON.parse(server.last.body)).toEqual({ model: "small", input: ["cups of tea"] });
  expect((await vlinder(["log", "finder", "-n", "1"])).out).toContain("call embed local/small 200");
  const shown = (await vlinder(["show", "finder", "main"])).out;
  expect(shown).toMatch(/request +POST \/v1\/embeddings +\d+ B\nresponse +\d+ B in \d+\.\d s\n/);
  server.answering = json({ error: { message: "overloaded" } }, 500);
  expect(documentOf(await search())).toMatchObject({ error: { code: "unavailable", message: "overloaded" } });
  expect((await vlinder(["vector", "search", "finder"])).code).toBe(2);
  expect((await search("--vector", "[1,0]")).code).toBe(2);
}, 60_000);

test("provider list says for each where its key is, and what is wrong with it", async () => {
  const open = join(folder.path, "open.key");
  await writeFile(open, KEY);
  await chmod(open, 0o644);
  await configure(
    `[providers.open]\nurl = "https://h"\nkey_file = "${open}"\n[providers.far]\nurl = "http://models.example"\nkey_env = "PATH_OF_FAR"\n`,
  );
  await vlinder(["reload"]);
  const { code, out } = await vlinder(["provider", "list"]);
  expect(code).toBe(0);
  expect(out).toMatch(/^provider +speaks +url +key/);
  expect(out).toMatch(/ollama +ollama +http:\/\/127\.0\.0\.1:11434 +none needed/);
  expect(out).toMatch(/openai +openai +https:\/\/api\.openai\.com\/v1 +missing/);
  expect(out).toMatch(/open +openai +https:\/\/h\/v1 +not usable/);
  expect(out).toContain(`chmod 600 ${open}`);
  expect(out).toContain("PATH_OF_FAR is not in the daemon's environment");
  expect(out).not.toContain(KEY);
});
