/** The packages of `package-lock.json`, installed. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { npm, root, say } from "./command.mjs";

/**
 * Whether what is installed is what the lock file says, by versions: the times of the files say
 * little after a checkout, and `npm ci` under the feet of running programs is not for nothing.
 */
function isInstalled() {
  const installedFile = path.join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedFile, "utf8")).packages;
  return Object.entries(wanted).every(
    ([name, entry]) => !name.includes("node_modules/") || entry.optional || installed[name]?.version === entry.version,
  );
}

export function ensurePackages(env, node) {
  if (isInstalled()) return;
  say("installing the packages of package-lock.json (npm ci)");
  npm(["ci"], env, node);
}
