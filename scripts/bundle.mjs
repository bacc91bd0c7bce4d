/**
 * `node scripts/bundle.mjs OUT`: the daemon and the command in few files, in OUT/bin and OUT/program. Two thirds of a start are finding and reading
 * hundreds of files. What has native parts, or is loaded only when it is needed, stays outside. All lies in one
 * folder, so that what a program looks for beside itself (its threads) is there.
 * @param OUT a folder in this repository: what stays outside is found from there
 */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { rolldown } from "rolldown";
import { root } from "./command.mjs";

const SOURCES = path.join(root, "daemon", "src");
const OUTSIDE = /^(?:better-sqlite3|sqlite-vec|age-encryption|@huggingface\/|@aws-sdk\/|@smithy\/)/;
const PROGRAM = /(?:^|\/)(?:vlinderd|vlinder|[\w-]+-(?:thread|worker))\.ts$/;
/** Start threads, and are none. */
const STARTERS = new Set(["start-thread.ts", "worker-thread.ts"]);

async function bundle(out) {
  const entries = readdirSync(SOURCES, { recursive: true, encoding: "utf8" })
    .filter((file) => PROGRAM.test(file) && !STARTERS.has(path.basename(file)))
    .map((file) => [path.basename(file, ".ts"), path.join(SOURCES, file)]);
  const made = await rolldown({
    input: Object.fromEntries(entries),
    platform: "node",
    external: (id) => OUTSIDE.test(id),
    // A library's way to load what only Node has.
    checks: { eval: false },
  });
  const { output } = await made.write({
    dir: path.join(out, "program"),
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "part-[name]-[hash].js",
  });
  await made.close();
  requireThatEntriesAreNotImported(output);
  cpSync(path.join(root, "daemon", "bin"), path.join(out, "bin"), { recursive: true });
  cpSync(path.join(root, "daemon", "package.json"), path.join(out, "package.json"));
  writeFileSync(path.join(out, "program", "LICENSES.txt"), licenses(output));
}

/** A part that imported a program, for the sake of a module that was put into its file, would run it. */
function requireThatEntriesAreNotImported(output) {
  const programs = new Set(output.filter(({ isEntry }) => isEntry).map(({ fileName }) => fileName));
  for (const { fileName, imports = [] } of output) {
    const program = imports.find((one) => programs.has(one));
    if (program === undefined) continue;
    throw new Error(
      `${fileName} imports ${program}, and so runs it: a module that both use must have a file of its own`,
    );
  }
}

/** Of the packages that are part of it now. */
function licenses(output) {
  const folders = new Set();
  for (const { moduleIds = [] } of output) {
    for (const id of moduleIds) {
      const folder = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0];
      if (folder !== undefined && existsSync(path.join(folder, "package.json"))) folders.add(folder);
    }
  }
  const texts = [...folders]
    .toSorted((a, b) => (a < b ? -1 : 1))
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
      const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
      const text = file === undefined ? `License: ${license}` : readFileSync(path.join(folder, file), "utf8").trim();
      return `${name} ${version}\n\n${text}\n`;
    });
  return texts.join(`\n${"-".repeat(72)}\n\n`);
}

await bundle(path.resolve(process.argv[2]));
