/**
 * Run by hand after `npm install` where the registry lacks some packages of other platforms (a
 * mirror, or a release that is minutes old): npm then leaves them out of package-lock.json, and
 * `npm ci` refuses the file on every machine. This adds them with the version that their parent asks
 * for and the platform that their name says, without an integrity hash.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { root, say } from "./command.mjs";

const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];

/** `@oxlint/binding-linux-arm64-musl` as the fields by which npm skips it elsewhere; null for other names. */
function platformOf(name) {
  const parts = name.split(/[/-]/);
  const system = SYSTEMS.find((one) => parts.includes(one));
  if (system === undefined) return null;
  const libc = parts.some((part) => part.startsWith("musl")) ? "musl" : "glibc";
  const fields = { os: [system], cpu: [parts[parts.indexOf(system) + 1]] };
  return system === "linux" ? { ...fields, libc: [libc] } : fields;
}

const file = path.join(root, "package-lock.json");
const lock = JSON.parse(readFileSync(file, "utf8"));
const added = {};
for (const [parent, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const platform = platformOf(name);
    const known = [`${parent}/node_modules/${name}`, `node_modules/${name}`].some((place) => lock.packages[place]);
    if (known || platform === null) continue;
    const { dev, engines, license } = entry;
    added[`node_modules/${name}`] = { version, dev, engines, license, optional: true, ...platform };
  }
}
const [workspace, ...rest] = Object.entries({ ...lock.packages, ...added });
lock.packages = Object.fromEntries([workspace, ...rest.sort(([a], [b]) => a.localeCompare(b, "en"))]);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
say(`package-lock.json: ${Object.keys(added).length} packages of other platforms added`);
