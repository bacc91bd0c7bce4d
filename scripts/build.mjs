/**
 * `build`: what is published, in `<package>/dist`: JavaScript and types, and a package.json that
 * points at them; of the daemon and the command the programs that `bundle.mjs` makes as well. In the clone the sources run as they are; Node strips no types under
 * `node_modules`, so a published package cannot.
 */
import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { root, run, say } from "./command.mjs";

const PACKAGES = ["protocol", "agent-runtime", "daemon"];

/** `./src/index.ts` as what consumers of the build import. */
function exported(source) {
  const base = source.replace(/\.ts$/, "");
  return { types: `${base}.d.ts`, default: `${base}.js` };
}

function manifest(folder) {
  const source = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
  const exports = Object.entries(source.exports).map(([name, file]) => [name, exported(file)]);
  const files = source.bin === undefined ? source.files : [...source.files, "program"];
  return { ...source, exports: Object.fromEntries(exports), files };
}

export async function build(node, env) {
  for (const name of PACKAGES) {
    const folder = path.join(root, name);
    const out = path.join(folder, "dist");
    rmSync(out, { recursive: true, force: true });
    const config = path.join(folder, "tsconfig.build.json");
    const code = await run(node, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", config], env);
    if (code !== 0) return code;
    if (name === "daemon" && (await run(node, [path.join(root, "scripts/bundle.mjs"), out], env)) !== 0) return 1;
    writeFileSync(path.join(out, "package.json"), `${JSON.stringify(manifest(folder), null, 2)}\n`);
    copyFileSync(path.join(root, "LICENSE"), path.join(out, "LICENSE"));
    for (const file of ["bin", "README.md", "PROTOCOL.md", "FORMATS.md"]) {
      if (existsSync(path.join(folder, file)))
        cpSync(path.join(folder, file), path.join(out, file), { recursive: true });
    }
    say(`built ${path.relative(root, out)}`);
  }
  return 0;
}
