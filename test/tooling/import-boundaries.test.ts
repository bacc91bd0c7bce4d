import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, it, onTestFinished } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** Each a file and what it must not import. */
const FORBIDDEN = [
  ["daemon/src/storage/a.ts", "../vectors/vectors.ts"],
  ["daemon/src/storage/backends/a.ts", "../../state/api.ts"],
  ["daemon/src/vectors/a.ts", "../state/api.ts"],
  ["daemon/src/state/tree/a.ts", "../../sync/sync.ts"],
  ["daemon/src/sync/a.ts", "../registry/registry.ts"],
  ["daemon/src/registry/a.ts", "../turns/turns.ts"],
  ["daemon/src/turns/a.ts", "../endpoints/kv.ts"],
  ["daemon/src/providers/a.ts", "../endpoints/kv.ts"],
  ["daemon/src/providers/a.ts", "../broker/broker.ts"],
  ["daemon/src/providers/a.ts", "nats"],
  ["daemon/src/registry/a.ts", "../providers/providers.ts"],
  ["daemon/src/state/a.ts", "../providers/providers.ts"],
  ["daemon/src/endpoints/a.ts", "../cli/vlinder.ts"],
  ["daemon/src/cli/a.ts", "../main.ts"],
  ["daemon/src/cli/a.ts", "../endpoints/kv.ts"],
  ["daemon/src/broker/a.ts", "../registry/registry.ts"],
  ["daemon/src/observe/a.ts", "../broker/broker.ts"],
  ["daemon/src/processes/a.ts", "../registry/registry.ts"],
  ["daemon/src/processes/a.ts", "nats"],
  ["daemon/src/broker/a.ts", "../processes/processes.ts"],
  ["daemon/src/cli/a.ts", "../processes/processes.ts"],
  ...["state", "vectors", "storage", "sync"].flatMap((room) => [
    [`daemon/src/${room}/a.ts`, "../endpoints/kv.ts"],
    [`daemon/src/${room}/a.ts`, "../broker/broker.ts"],
    [`daemon/src/${room}/a.ts`, "../processes/processes.ts"],
    [`daemon/src/${room}/a.ts`, "../cli/vlinder.ts"],
    [`daemon/src/${room}/a.ts`, "nats"],
  ]),
  ["daemon/src/state/a.ts", "better-sqlite3"],
  ["daemon/src/endpoints/a.ts", "sqlite-vec"],
  ["protocol/src/a.ts", "@vlinder/agent-runtime"],
  ["protocol/src/a.ts", "node:fs"],
  ["agent-runtime/src/a.ts", "@vlinder/daemon/storage-conformance"],
  ["agent-runtime/src/a.ts", "../../daemon/src/state/api.ts"],
  ["agent-runtime/src/a.ts", "better-sqlite3"],
  ["agents/todo/a.ts", "../../daemon/src/state/api.ts"],
] as [string, string][];

const ALLOWED = [
  ["daemon/src/storage/backends/a.ts", "better-sqlite3"],
  ["daemon/src/state/a.ts", "../storage/object-storage.ts"],
  ["daemon/src/sync/buckets/a.ts", "../../state/api.ts"],
  ["daemon/src/registry/a.ts", "../broker/broker.ts"],
  ["daemon/src/processes/a.ts", "../broker/process-start.ts"],
  ["daemon/src/turns/a.ts", "../processes/processes.ts"],
  ["daemon/src/providers/a.ts", "../registry/manifest.ts"],
  ["daemon/src/endpoints/a.ts", "nats"],
  ["agent-runtime/src/a.ts", "@vlinder/protocol"],
  ["agents/todo/a.ts", "@vlinder/agent-runtime"],
] as [string, string][];

/** Which of the imports the project's lint configuration refuses, in a tree that has nothing but them. */
function refused(imports: readonly [string, string][]): [string, string][] {
  const folder = mkdtempSync(path.join(os.tmpdir(), "vlinder-lint-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  copyFileSync(path.join(root, ".oxlintrc.json"), path.join(folder, ".oxlintrc.json"));
  const probes = imports.map(([file, imported], i) => {
    const probe = file.replace(/a\.ts$/, `probe-${i}.ts`);
    mkdirSync(path.dirname(path.join(folder, probe)), { recursive: true });
    writeFileSync(path.join(folder, probe), `import type { X } from "${imported}";\nexport type Y = X | 1;\n`);
    return probe;
  });
  const oxlint = path.join(root, "node_modules/oxlint/bin/oxlint");
  const done = spawnSync(process.execPath, [oxlint, "--format=json", "--threads=1"], { cwd: folder, encoding: "utf8" });
  const { diagnostics } = JSON.parse(done.stdout) as { diagnostics: { code: string; filename: string }[] };
  const found = new Set(
    diagnostics.filter((one) => one.code.includes("no-restricted-imports")).map((one) => one.filename),
  );
  return imports.filter((_pair, i) => found.has(probes[i] ?? ""));
}

it("refuses every import against the direction of the rooms", () => {
  expect(refused(FORBIDDEN)).toEqual(FORBIDDEN);
});

it("allows the imports that go down", () => {
  expect(refused(ALLOWED)).toEqual([]);
});
