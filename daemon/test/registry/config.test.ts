import { describe, expect, test } from "vitest";
import { configOf, loadConfig } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";
import { keyVariables, providersOf } from "../../src/registry/provider-config.ts";
import { TomlSource } from "../../src/registry/toml-source.ts";
import { errorOf, temporaryFolder } from "./folders.ts";

const read = (text: string, env: NodeJS.ProcessEnv = {}) => configOf(new TomlSource(text, "config.toml"), env);

test("without a file there are defaults", async () => {
  expect(await loadConfig(await openHome(await temporaryFolder()), {})).toEqual({
    nats: { url: null, creds: null, port: 4322 },
    storage: {
      objects: "sqlite://objects.db",
      vectors: "sqlite://vectors.db",
      durability: "disk",
      outside: [],
      quarantine: 604_800_000,
    },
    sync: {
      bucket: null,
      when: "turn",
      interval: 300_000,
      quiet: 5_000,
      pullBudget: 2_000,
      pushDistance: null,
      stopPush: 5_000,
      grace: 604_800_000,
      databases: null,
    },
    limits: { storage: null },
    log: { level: "info" },
    backends: {},
    providers: providersOf({}),
  });
});

test("the file, and the environment over it", () => {
  const text =
    '[nats]\nport = 1\nurl = "nats://a"\n[storage]\nobjects = "memory://x"\n[backends]\nredis = "vlinder-redis"';
  const env = {
    VLINDER_NATS_PORT: "4444",
    VLINDER_STORAGE_OUTSIDE: "/data:/mnt/x",
    VLINDER_SYNC_BUCKET: "file:///b",
    VLINDER_SYNC_QUIET: "500ms",
    VLINDER_SYNC_PUSH_DISTANCE: "1m",
    VLINDER_SYNC_STOP_PUSH: "0s",
    VLINDER_BACKENDS_S3KV: "some-package",
    VLINDER_PROVIDERS_OLLAMA_URL: "http://gpu:11434",
    VLINDER_PROVIDERS_GPU_BOX_URL: "http://10.0.0.7:8000/v1",
    VLINDER_PROVIDERS_GPU_BOX_KEY_ENV: "GPU_KEY",
    VLINDER_HOME: "/h",
    VLINDER_URL: "nats://u",
    VLINDER_CREDS: "/c",
    VLINDER_NATS_SERVER: "/usr/bin/nats-server",
    VLINDER_SOMETHING_ELSE: "not ours",
    PATH: "/bin",
  };
  const config = read(text, env);
  expect(config.nats).toEqual({ url: "nats://a", creds: null, port: 4444 });
  expect(config.storage).toMatchObject({ objects: "memory://x", outside: ["/data", "/mnt/x"] });
  expect(config.providers["ollama"]?.url).toBe("http://gpu:11434");
  expect(config.providers["gpu-box"]).toMatchObject({ url: "http://10.0.0.7:8000/v1", keyEnv: "GPU_KEY" });
  expect(config.sync).toMatchObject({ bucket: "file:///b", quiet: 500, pushDistance: 60_000, stopPush: 0 });
  expect(config.backends).toEqual({ redis: "vlinder-redis", s3kv: "some-package" });
});

describe("what is wrong in the file is refused with its place", () => {
  test.each([
    ["[nats]\nprt = 1", '2:1: unknown key "prt"; did you mean "port"?'],
    ["[storge]\nobjects = 1", '1:2: unknown key "storge"; did you mean "storage"?'],
    ['[nats]\nport = "x"', '2:8: "port" must be an integer from 0 (any free one) to 65535, not "x"'],
    ["[nats]\nport = 70000", '2:8: "port" must be an integer from 0 (any free one) to 65535, not 70000'],
    ['[storage]\ndurability = "fast"', '2:14: "durability" must be one of "disk", "process", not "fast"'],
    ['[storage]\noutside = ["/a",\n "b"]', '3:2: must be an absolute path, not "b"'],
    [
      '[log]\nlevel = "loud"',
      '2:9: "level" must be one of "trace", "debug", "info", "warn", "error", "fatal", "silent", not "loud"',
    ],
    ['[sync]\nwhen = "always"', '2:8: "when" must be one of "turn", "interval", "manual", not "always"'],
    ['[sync]\nquiet = "soon"', '2:9: "soon" is no time; write one like "500ms", "2s", "5m" or "1h"'],
    ["[sync]\nquiet = 5", '2:9: "quiet" must be a string, not 5'],
    ['[sync]\ninterval = "1s"', '2:12: "1s" is out of range: from "5s" to "24h"'],
    ['[sync]\npull_budget = "9s"', '2:15: "9s" is out of range: from "0s" to "8s"'],
    ["[backends]\nsqlite = 'x'", '2:10: "sqlite" is built in'],
    ["[backends]\nRe_dis = 'x'", '2:10: "Re_dis" can\'t be a URI scheme: a-z first, then a-z, 0-9, +, . and -'],
    ["[backends]\nredis = 1", '2:9: "redis" must be a string, not 1'],
    ["[providers.a]\nprotocol = 'openai'", '1:12: provider "a" needs a "url"'],
    ["[providers.a_b]\nurl = 'http://x'", "1:12: \"a_b\" can't be a provider's name: a-z, 0-9 and -, at most 64"],
    ["[providers.a]\nurl = 'ftp://x'", '2:7: "ftp://x" is no http:// or https:// URL'],
    ["[providers.a]\nurl = 'http://me:pw@x'", '2:7: "http://me:pw@x" has a password in it: name a key_env or key_file'],
    ["[providers.a]\nurl = 'http://x?key=1'", '2:7: "http://x?key=1" has a query or a fragment'],
    [
      "[providers.a]\nurl = 'http://x'\nprotocol = 'grpc'",
      '3:12: "protocol" must be one of "openai", "anthropic", "ollama", not "grpc"',
    ],
    [
      "[providers.a]\nurl = 'http://x'\nkey = 'sk-secret'",
      '3:1: unknown key "key"; allowed: url, protocol, key_env, key_file',
    ],
    ["[providers.openai]\nkey_file = 'keys/a'", "2:12: must be an absolute path"],
    ["[providers.openai]\nkey_env = 'A-B'", "2:11: must be the name of an environment variable"],
    [
      "[providers.openai]\nkey_env = 'A'\nkey_file = '/k'",
      '3:12: either "key_env" or "key_file": two keys would be one too many',
    ],
    ["nats = 1", '1:8: "nats" must be a table, not 1'],
    [
      "[sync]\nbucket = 's3://k:pw@b'",
      '2:10: "bucket" is not the URI of an S3 bucket: it has a user or a password in it, and a URI is shown in logs; take it out, ' +
        "and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials",
    ],
    [
      "[sync]\nbucket = 'https://k:p/w@b/c?t=pw'",
      '2:10: "bucket" is not the URI of a bucket: "https://…@b/c?…"; ' +
        "use file:///path/to/folder, hf://buckets/OWNER/NAME or s3://bucket/prefix",
    ],
    [
      "[sync]\nbucket = 'hf://k:pw@buckets/me'",
      '2:10: "bucket" is not the URI of a bucket on Hugging Face: "hf://…@buckets/me"; ' +
        "use hf://buckets/OWNER/NAME, or with a folder in it hf://buckets/OWNER/NAME/FOLDER",
    ],
    [
      "[sync]\nbucket = 'file://vault'",
      '2:10: "bucket" is not the URI of a folder: "file://vault"; use three slashes: file:///path/to/folder',
    ],
  ])("%j", async (text, message) => {
    const error = await errorOf(() => read(text));
    expect(error.message).toBe(`config.toml:${message}`);
    expect(error.remedy).toBeTruthy();
  });
});

describe("what is wrong in the environment is refused with its variable", () => {
  test.each([
    ["VLINDER_NATS_PROT", "1", 'environment: unknown setting "VLINDER_NATS_PROT"; did you mean "VLINDER_NATS_PORT"?'],
    [
      "VLINDER_NATS_PORT",
      "abc",
      'environment: VLINDER_NATS_PORT: "port" must be an integer from 0 (any free one) to 65535, not "abc"',
    ],
    [
      "VLINDER_STORAGE_DURABILITY",
      "x",
      'environment: VLINDER_STORAGE_DURABILITY: "durability" must be one of "disk", "process", not "x"',
    ],
    ["VLINDER_STORAGE_OUTSIDE", "/a:b", 'environment: VLINDER_STORAGE_OUTSIDE: must be an absolute path, not "b"'],
    ["VLINDER_SYNC_BUCKET", "", "environment: VLINDER_SYNC_BUCKET is empty"],
    ["VLINDER_PROVIDERS_GPU_URL", "gpu", 'environment: VLINDER_PROVIDERS_GPU_URL: "gpu" is no URL'],
    ["VLINDER_PROVIDERS_GPU", "x", 'environment: VLINDER_PROVIDERS_GPU: "gpu" must be a table, not "x"'],
    ["VLINDER_BACKENDS_SQLITE", "x", 'environment: VLINDER_BACKENDS_SQLITE: "sqlite" is built in'],
  ])("%s=%s", async (variable, value, message) => {
    const error = await errorOf(() => read("", { [variable]: value }));
    expect(error.message).toBe(message);
    expect(error.details["variable"]).toBe(variable);
  });

  test("a setting of the file is not blamed on the environment", async () => {
    const error = await errorOf(() => read("[nats]\nport = -1", { VLINDER_LOG_LEVEL: "warn" }));
    expect(error.message).toContain("config.toml:2:8");
  });
});

test("a provider's url is what an SDK takes as its base URL, and lenient about the version", () => {
  const urlOf = (url: string, protocol: "openai" | "anthropic" | "ollama") =>
    providersOf({ a: { url, protocol } })["a"]?.url;
  expect(urlOf("http://h:1", "openai")).toBe("http://h:1/v1");
  expect(urlOf("https://h/compatible/v3/", "openai")).toBe("https://h/compatible/v3");
  expect(urlOf("https://h/v1", "anthropic")).toBe("https://h");
  expect(urlOf("http://h:11434/", "ollama")).toBe("http://h:11434");
  const { openai, local } = read(
    "[providers.openai]\nurl = 'https://proxy/v1'\n[providers.local]\nurl = 'http://l'",
  ).providers;
  expect(openai).toMatchObject({ url: "https://proxy/v1", usualEnv: "OPENAI_API_KEY", needsKey: true });
  expect(local).toMatchObject({ url: "http://l/v1", protocol: "openai", needsKey: false });
  expect(keyVariables(providersOf({ a: { url: "http://a", key_env: "A_KEY" } }))).toEqual([
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "OPENROUTER_API_KEY",
    "A_KEY",
  ]);
});
