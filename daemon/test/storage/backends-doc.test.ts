import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll } from "vitest";

/** docs/backends.md shows a whole backend and its test: both are taken from there and run. */
const folder = join(import.meta.dirname, `.backends-doc-${process.pid}`);
const text = readFileSync(new URL("../../../docs/backends.md", import.meta.url), "utf8");
mkdirSync(folder);
for (const [, name, code] of text.matchAll(/^```ts (\S+)\n(.*?)^```$/gms)) {
  writeFileSync(join(folder, name as string), code as string);
}
afterAll(() => rmSync(folder, { recursive: true }));

await import(join(folder, "journal.test.ts"));
