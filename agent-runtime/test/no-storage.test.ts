import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const runtime = join(root, "agent-runtime");

/** What would let an agent open a store of its own. */
const STORAGE =
  /sqlite|^pg$|^postgres|^mysql|leveldb|^level|lmdb|rocksdb|duckdb|usearch|hnsw|redis|mongo|^@vlinder\/daemon$/;

interface Package {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

function manifest(folder: string): Package {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Package;
}

/** Where Node finds a package from a folder; null when it is optional and not installed. */
function folderOf(name: string, from: string): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
    if (dirname(folder) === folder) return null;
  }
}

/** Names of all packages that are installed because of the one in a folder. */
function reachable(folder: string, seen = new Map<string, string>()): Map<string, string> {
  const { dependencies, optionalDependencies, peerDependencies } = manifest(folder);
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
    const found = folderOf(name, folder);
    if (found === null || seen.has(name)) continue;
    seen.set(name, found);
    reachable(found, seen);
  }
  return seen;
}

test("the runtime depends on the protocol and NATS only", () => {
  expect(Object.keys(manifest(runtime).dependencies ?? {}).toSorted()).toEqual(["@vlinder/protocol", "nats"]);
});

test("no package that is installed with the runtime stores anything", () => {
  const names = [...reachable(runtime).keys()];
  expect(names).toContain("@vlinder/protocol");
  expect(names).toContain("zod");
  expect(names).toContain("nkeys.js");
  expect(names.filter((name) => STORAGE.test(name))).toEqual([]);
});

test("the walk would find one", () => {
  const names = [...reachable(join(root, "daemon")).keys()];
  expect(names.filter((name) => STORAGE.test(name))).toEqual(expect.arrayContaining(["better-sqlite3", "sqlite-vec"]));
});

/** Every file of ours that an import from `file` reaches, and every package named on the way. */
function imports(file: string, files = new Set<string>(), packages = new Set<string>()): Set<string> {
  if (files.has(file)) return packages;
  files.add(file);
  for (const [, name] of readFileSync(file, "utf8").matchAll(/(?<![.\w])(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
    if (name === undefined) continue;
    if (name.startsWith(".")) imports(join(dirname(file), name), files, packages);
    else packages.add(name);
    if (name.startsWith("@vlinder/")) imports(realpathSync(createRequire(file).resolve(name)), files, packages);
  }
  return packages;
}

test("nothing that the runtime's entry imports, directly or not, is storage or the file system for it", () => {
  const files = new Set<string>();
  const packages = [...imports(join(runtime, "src/index.ts"), files)];
  const ours = [...files].map((file) => relative(root, file));
  expect(ours.filter((file) => !/^(agent-runtime|protocol)\/src\//.test(file))).toEqual([]);
  expect(ours).toContain("protocol/src/codec.ts");
  expect(packages.filter((name) => STORAGE.test(name) || name === "node:sqlite")).toEqual([]);
  const known = /^(node:|@vlinder\/protocol$|nats$|zod$)/;
  expect(packages.filter((name) => !known.test(name))).toEqual([]);
});

test("every source file of the runtime is reached, so none hides from the walk", () => {
  const files = new Set<string>();
  imports(join(runtime, "src/index.ts"), files);
  for (const name of readdirSync(join(runtime, "src"))) expect([...files]).toContain(join(runtime, "src", name));
});
