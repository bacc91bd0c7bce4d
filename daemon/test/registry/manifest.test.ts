import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeContract, encodeContract } from "@vlinder/protocol";
import { describe, expect, test } from "vitest";
import { contractOf, manifestOf } from "../../src/registry/manifest.ts";
import { providersOf, type ProviderTable } from "../../src/registry/provider-config.ts";
import { readTomlFile, TomlSource } from "../../src/registry/toml-source.ts";
import { errorOf, temporaryFolder } from "./folders.ts";

const PROVIDERS = providersOf({ local: { url: "http://127.0.0.1:8000" } });
const read = (text: string, schemes: string[] = [], providers: ProviderTable | null = PROVIDERS) =>
  manifestOf(new TomlSource(text, "agent.toml"), schemes, providers);
const HEAD = 'name = "todo"\nobject_storage = "sqlite://objects.db"\n';

test("the smallest agent.toml", () => {
  expect(read(HEAD)).toEqual({
    name: "todo",
    description: null,
    runtime: "external",
    executable: null,
    objectStorage: "sqlite://objects.db",
    vectorStorage: null,
    vectors: null,
    services: { infer: null, embed: null },
    syncWhen: null,
    syncDatabases: null,
    retention: { states: null, turns: null },
    merge: {},
    limits: { storage: null, turn: null },
  });
});

test("providers of config.toml may be declared, and one that went does not keep a registered agent from being read", async () => {
  const text = `${HEAD}[requirements.services.infer]\nprovider = "local"\nmodels = ["x"]`;
  expect(read(text).services.infer).toEqual({ provider: "local", protocol: null, models: ["x"] });
  expect((await errorOf(() => read(text, [], providersOf({})))).message).toContain('unknown provider "local"');
  expect(read(text, [], null).services.infer?.provider).toBe("local");
});

test("everything", () => {
  const manifest = read(
    `
name = "librarian"
description = "Reads documents and answers from them"
runtime = "process"
executable = "node main.ts"
object_storage = "redis://host/0"
vector_storage = "default"
[vectors]
dimension = 384
metric = "dot"
[requirements.services.infer]
provider = "ollama"
protocol = "openai"
models = ["llama3.2"]
[requirements.services.embed]
provider = "ollama"
models = ["nomic-embed-text"]
[sync]
when = "manual"
databases = "turn"
[retention]
states = "90d"
[merge]
"/notes/" = "keep-both"
"" = "newest"
[limits]
storage = "1.5GiB"
turn = "90s"
`,
    ["redis"],
  );
  expect(manifest).toMatchObject({
    name: "librarian",
    runtime: "process",
    executable: "node main.ts",
    objectStorage: "redis://host/0",
    vectorStorage: "default",
    vectors: { dimension: 384, metric: "dot" },
    services: {
      infer: { provider: "ollama", protocol: "openai", models: ["llama3.2"] },
      embed: { provider: "ollama", protocol: null, models: ["nomic-embed-text"] },
    },
    syncWhen: "manual",
    syncDatabases: "turn",
    retention: { states: "90d", turns: null },
    merge: { "/notes/": "keep-both", "": "newest" },
    limits: { storage: 1.5 * 2 ** 30, turn: 90 },
  });
});

describe("the contract", () => {
  test("has the portable part only, and reads back", () => {
    const where = read(HEAD.replace("objects.db", "elsewhere.db") + 'description = "x"\n[limits]\nstorage = "2GB"\n');
    expect(contractOf(where)).toEqual(contractOf(read(HEAD)));
    expect(decodeContract(encodeContract(contractOf(where)))).toEqual({
      v: 1,
      name: "todo",
      merge: { rules: 1, policies: {} },
    });
  });

  test("has vectors, retention and policies where they are declared", () => {
    const text = `${HEAD}vector_storage = "sqlite://v.db"\n[retention]\nturns = "1y"\n[merge]\n"/a" = "newest"\n"/t" = "json"\n"/n" = "lines"\n`;
    expect(contractOf(read(text))).toEqual({
      v: 1,
      name: "todo",
      merge: { rules: 1, policies: { "/a": "newest", "/t": "json", "/n": "lines" } },
      retention: { turns: "1y" },
      vectors: { metric: "cosine" },
    });
  });
});

/** What is wrong, the file, and the whole message behind `agent.toml:`. */
const WRONG: [string, string, string][] = [
  ["unknown key, near", 'name = "todo"\n\nobject_store = "sqlite://x"\nobject_storage = "default"',
    '3:1: unknown key "object_store"; did you mean "object_storage"?'],
  ["unknown key, far", `${HEAD}colour = "red"`,
    '3:1: unknown key "colour"; allowed: name, description, runtime, executable, object_storage, vector_storage, vectors, requirements, sync, retention, merge, limits'],
  ["unknown section", `${HEAD}\n  [retentoin]\nstates = "9d"`, '4:4: unknown key "retentoin"; did you mean "retention"?'],
  ["unknown key in a section", `${HEAD}vector_storage="default"\n[vectors] # [x]\n  dimensions = 3`,
    '5:3: unknown key "dimensions"; did you mean "dimension"?'],
  ["unknown key in an inline table", `${HEAD}sync = { whn = "turn" }`, '3:10: unknown key "whn"; did you mean "when"?'],
  ["unknown service", `${HEAD}[requirements.services.embedd]\nprovider = "ollama"`,
    '3:24: unknown key "embedd"; did you mean "embed"?'],
  ["no name", 'object_storage = "default"', '1:1: "name" is required: the name that the agent is called by'],
  ["bad name", 'object_storage = "default"\nname =  "To do"',
    '2:9: not an agent\'s name: "To do"; an agent\'s name is 1 to 64 of a-z, 0-9 and -'],
  ["wildcard name", 'object_storage = "default"\nname = "*"', '2:8: not an agent\'s name: "*"; an agent\'s name is 1 to 64 of a-z, 0-9 and -'],
  ["reserved name", 'object_storage = "default"\nname = "admin"', '2:8: the name "admin" is reserved; choose another name'],
  ["name of a wrong type", 'name = 7\nobject_storage = "default"', '1:8: "name" must be a string, not 7'],
  ["no storage", 'name = "todo"',
    '1:1: "object_storage" is required, as history lives there; write object_storage = "sqlite://objects.db"'],
  ["unknown scheme", 'name = "todo"\nobject_storage = "sqlit://objects.db"', '2:18: unknown scheme "sqlit"; did you mean "sqlite"?'],
  ["scheme of no backend", 'name = "todo"\nobject_storage = "postgres://h/d"', '2:18: unknown scheme "postgres"; allowed: sqlite, memory'],
  ["no URI", 'name = "todo"\nobject_storage = "objects.db"',
    '2:18: "objects.db" is no storage URI; write "default" or one like "sqlite://objects.db"'],
  ["unknown scheme of vectors", `${HEAD}vector_storage = "faiss://x"`, '3:18: unknown scheme "faiss"; allowed: sqlite, memory'],
  ["vectors without storage", `${HEAD}[vectors]\ndimension = 3`,
    '3:2: [vectors] needs "vector_storage"; write vector_storage = "sqlite://vectors.db" above it'],
  ["dimension of nothing", `${HEAD}vector_storage = "default"\nvectors.dimension = 0`,
    '4:21: "dimension" must be an integer from 1 to 4096, not 0'],
  ["dimension as text", `${HEAD}vector_storage = "default"\n[vectors]\ndimension = "384"`,
    '5:13: "dimension" must be an integer from 1 to 4096, not "384"'],
  ["metric", `${HEAD}vector_storage = "default"\n[vectors]\nmetric = "cosinus"`,
    '5:10: "metric" must be one of "cosine", "l2", "dot", not "cosinus"'],
  ["runtime", `${HEAD}runtime = "docker"`, '3:11: "runtime" must be one of "external", "process", not "docker"'],
  ["process without executable", `${HEAD}runtime = "process"`,
    '3:11: runtime "process" needs an "executable": the command that starts the agent, like "node main.ts"'],
  ["unknown provider", `${HEAD}[requirements.services.infer]\nprovider = "olama"\nmodels = ["x"]`,
    '4:12: unknown provider "olama"; did you mean "ollama"? (others: [providers.NAME] in config.toml)'],
  ["a protocol that the provider does not speak", `${HEAD}[requirements.services.infer]\nprovider = "anthropic"\nprotocol = "openai"\nmodels = ["x"]`,
    '5:12: provider "anthropic" speaks anthropic, not openai; nothing is translated'],
  ["unknown protocol", `${HEAD}[requirements.services.infer]\nprovider = "ollama"\nprotocol = "grpc"\nmodels = ["x"]`,
    '5:12: unknown protocol "grpc"; allowed: openai, anthropic, ollama'],
  ["models as text", `${HEAD}[requirements.services.infer]\nprovider = "ollama"\nmodels = "x"`,
    '5:10: "models" must be an array, not "x"'],
  ["a model of a wrong type", `${HEAD}[requirements.services.infer]\nprovider = "ollama"\nmodels = ["x",\n  7]`,
    '6:3: each of "models" must be a string, not 7'],
  ["no provider", `${HEAD}[requirements.services.infer]\nmodels = ["x"]`, '3:24: "provider" is required'],
  ["unknown policy", `${HEAD}[merge]\n'/n' = "keep_both"`, '4:8: unknown merge policy "keep_both"; did you mean "keep-both"?'],
  ["policy for a prefix with NUL", `${HEAD}[merge]\n"a\\u0000" = "newest"`,
    '4:13: a key must not contain NUL; remove the NUL character'],
  ["time span", `${HEAD}[retention]\nstates = "90 days"`, '4:10: "90 days" is no time span; write one like "12h", "90d", "8w" or "1y"'],
  ["time limit", `${HEAD}[limits]\nturn = "2d"`, '4:8: "2d" is no time limit; write one like "30s", "10m" or "2h", of a day at most'],
  ["longest time limit", `${HEAD}[limits]\nturn = "25h"`, '4:8: "25h" is no time limit; write one like "30s", "10m" or "2h", of a day at most'],
  ["size", `${HEAD}[limits]\nstorage = "lots"`, '4:11: "lots" is no size; write one like "500MB" or "2GB"'],
  ["sync.when", `${HEAD}sync.when = "always"`, '3:13: "when" must be one of "turn", "interval", "manual", not "always"'],
  ["table where text is wanted", `${HEAD}[description]\nx = 1`, '3:2: "description" must be a string, not {"x":1}'],
  ["text where a table is wanted", `${HEAD}sync = "turn"`, '3:8: "sync" must be a table, not "turn"'],
  ["not TOML", `${HEAD}runtime = process`,
    "3:11: not TOML: Unexpected character, expecting string, number, datetime, boolean, inline array or inline table"],
  ["a line that is cut off", `${HEAD}runtime =`, "3:10: not TOML: Key without value"],
  ["a key that is there twice", `${HEAD}# c\n  name = "x"`, "4:3: this key is there already"],
  ["a section that is there twice", `${HEAD}[sync]\n[sync]\n`, "4:2: this key is there already"],
  ["__proto__", `${HEAD}__proto__ = 1`, '1:1: not TOML: a key named "__proto__"'],
  ["constructor", `${HEAD}constructor = 1`,
    '3:1: unknown key "constructor"; allowed: name, description, runtime, executable, object_storage, vector_storage, vectors, requirements, sync, retention, merge, limits'],
  ["deep nesting", `${HEAD}merge = ${"[".repeat(100)}${"]".repeat(100)}`, "1:1: not TOML: nested too deeply"],
]; // prettier-ignore

describe("what is wrong is refused with its place", () => {
  test.each(WRONG)("%s", async (_what, text, message) => {
    const error = await errorOf(() => read(text));
    expect(error.message).toBe(`agent.toml:${message}`);
    expect(error.code).toBe("invalid");
    expect(error.remedy).toBeTruthy();
    const [line, column] = message.split(":").map(Number);
    expect(error.details).toMatchObject({ file: "agent.toml", line, column });
  });

  test("several at once: the first in the message, all in the details", async () => {
    const error = await errorOf(() => read('name = "todo"\nobject_storage = 5\nruntime = "x"\n[sync]\nwhen = 1'));
    expect(error.message).toBe('agent.toml:2:18: "object_storage" must be a string, not 5 (and 2 more)');
    expect(error.details["problems"]).toHaveLength(3);
  });
});

describe("the file", () => {
  test("is null when there is none, and refused when it is no readable text", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "agent.toml");
    expect(await readTomlFile(path)).toBeNull();
    await writeFile(path, Buffer.from([0x61, 0x3d, 0x22, 0xff, 0x22]));
    expect((await errorOf(() => readTomlFile(path))).message).toBe(`${path}:1:1: not UTF-8`);
    await writeFile(path, "#".repeat(1024 * 1024 + 1));
    expect((await errorOf(() => readTomlFile(path))).message).toContain("more than 1048576");
    expect((await errorOf(() => readTomlFile(folder))).message).toContain("is not a file");
  });

  test("may start with a byte order mark and have Windows line ends", async () => {
    const path = join(await temporaryFolder(), "agent.toml");
    await writeFile(path, "\ufeff" + HEAD.replaceAll("\n", "\r\n") + "x = 1");
    const source = await readTomlFile(path);
    expect((await errorOf(() => manifestOf(source!, [], PROVIDERS))).message).toContain(`${path}:3:1: unknown key "x"`);
  });
});
