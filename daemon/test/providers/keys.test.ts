import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { findKey, type KeyPlaces, requireKey } from "../../src/providers/keys.ts";
import { type ProviderConfig, providersOf } from "../../src/registry/provider-config.ts";
import { errorOf, temporaryFolder } from "../registry/folders.ts";

let root: string;
let places: KeyPlaces;

beforeEach(async () => {
  root = await temporaryFolder();
  places = { folder: join(root, "keys"), env: {} };
  await mkdir(places.folder);
});

function provider(name: string, given: { key_env?: string; key_file?: string } = {}): ProviderConfig {
  const known = ["openai", "anthropic", "openrouter", "ollama"].includes(name);
  return providersOf({ [name]: { ...(known ? {} : { url: "http://h" }), ...given } })[name] as ProviderConfig;
}

async function keyFile(path: string, text = "file-key\n", mode = 0o600): Promise<string> {
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

describe("where a key is looked for", () => {
  test("what was stored, then systemd's credential, then the usual variable", async () => {
    const openai = provider("openai");
    const credentials = join(root, "credentials");
    await mkdir(credentials);
    places = { ...places, env: { OPENAI_API_KEY: "env-key", CREDENTIALS_DIRECTORY: credentials } };
    expect(await findKey(openai, places)).toEqual({ key: "env-key", from: "environment", place: "OPENAI_API_KEY" });
    // systemd's own rights: its files may belong to root, and have an ACL.
    const systemd = await keyFile(join(credentials, "openai"), "systemd-key", 0o440);
    expect(await findKey(openai, places)).toEqual({ key: "systemd-key", from: "systemd", place: systemd });
    const stored = await keyFile(join(places.folder, "openai.key"), "stored-key\n");
    expect(await findKey(openai, places)).toEqual({ key: "stored-key", from: "stored", place: stored });
  });

  test("where config.toml names a place, only there", async () => {
    places = { ...places, env: { OPENAI_API_KEY: "usual", MINE: "mine" } };
    const path = join(root, "key");
    expect((await findKey(provider("openai", { key_env: "MINE" }), places))?.key).toBe("mine");
    const noVariable = await errorOf(() => findKey(provider("openai", { key_env: "OTHER" }), places));
    expect(noVariable).toMatchObject({ code: "unavailable", retryable: false });
    expect(noVariable.message).toContain("OTHER is not in the daemon's environment");
    const noFile = await errorOf(() => findKey(provider("openai", { key_file: path }), places));
    expect(noFile.message).toContain(`there is no file ${path}`);
    await keyFile(path, "  file-key\r\n");
    expect(await findKey(provider("openai", { key_file: path }), places)).toEqual({
      key: "file-key",
      from: "file",
      place: path,
    });
  });

  test("a provider that needs none goes without; one that needs one is refused with what to do", async () => {
    expect(await requireKey(provider("ollama"), places)).toBeNull();
    expect(await requireKey(provider("local"), places)).toBeNull();
    expect((await errorOf(() => requireKey(provider("openai"), places))).remedy).toBe(
      "`vlinder provider set openai`, or start vlinderd with OPENAI_API_KEY",
    );
  });

  test("a key that was exchanged is good at once", async () => {
    const path = await keyFile(join(root, "key"), "one");
    const own = provider("local", { key_file: path });
    expect((await findKey(own, places))?.key).toBe("one");
    await writeFile(path, "two");
    expect((await findKey(own, places))?.key).toBe("two");
  });
});

describe("a file is no key's", () => {
  test.each([0o640, 0o604, 0o644, 0o660, 0o610])("when others may do something with it: mode %o", async (mode) => {
    const path = await keyFile(join(root, "key"), "secret-in-the-open", mode);
    const error = await errorOf(() => findKey(provider("local", { key_file: path }), places));
    expect(error).toMatchObject({ code: "denied", details: { path } });
    expect(error.message).toContain(`mode 0${mode.toString(8)}`);
    expect(error.remedy).toContain(`chmod 600 ${path}`);
    expect(JSON.stringify(error.toBody())).not.toContain("secret-in-the-open");
  });

  test("also through a link, and not when it is read-only", async () => {
    const path = await keyFile(join(root, "key"), "k", 0o644);
    await symlink(path, join(root, "link"));
    const linked = provider("local", { key_file: join(root, "link") });
    expect((await errorOf(() => findKey(linked, places))).code).toBe("denied");
    await chmod(path, 0o400);
    expect((await findKey(linked, places))?.key).toBe("k");
  });

  test.each([
    ["empty", ""],
    ["two lines", "one\ntwo"],
    ["with a space", "a b"],
    ["not ASCII", "ключ"],
    ["too long", "x".repeat(10_000)],
  ])("when it is %s", async (_what, text) => {
    const path = await keyFile(join(root, "key"), text);
    const error = await errorOf(() => findKey(provider("local", { key_file: path }), places));
    expect(error).toMatchObject({ code: "invalid", message: `${path} holds no key` });
  });

  test("when it is a folder", async () => {
    const error = await errorOf(() => findKey(provider("local", { key_file: places.folder }), places));
    expect(error.message).toContain("is not a file");
  });
});
