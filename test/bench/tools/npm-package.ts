import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { run, TOOLS } from "./run.ts";

/** Packages that only the bench needs: whoever installs the project does not pay for them. */
const FOLDER = join(TOOLS, "bench-packages");

/**
 * A package of npm, installed on first use, without install scripts. `entry` is the file of the package that
 * is imported; the caller says what it exports. @throws an Error that says why it can't be had
 */
export async function npmPackage<Module>(name: string, version: string, entry: string): Promise<Module> {
  const folder = join(FOLDER, `${name.replace("@", "").replaceAll("/", "-")}-${version}`);
  const installed = join(folder, "node_modules", name);
  if ((await versionOf(installed)) !== version) {
    await mkdir(folder, { recursive: true });
    const args = ["install", "--prefix", folder, "--no-save", "--no-package-lock", "--ignore-scripts"];
    await npm([...args, "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", `${name}@${version}`]);
  }
  return (await import(pathToFileURL(join(installed, entry)).href)) as Module;
}

async function versionOf(folder: string): Promise<string | null> {
  const file = join(folder, "package.json");
  if (!existsSync(file)) return null;
  return (JSON.parse(await readFile(file, "utf8")) as { version: string }).version;
}

async function npm(args: readonly string[]): Promise<void> {
  // The npm that started us, where it was one; so Windows needs no shell.
  const cli = process.env.npm_execpath;
  const known = cli !== undefined && basename(cli) === "npm-cli.js" && existsSync(dirname(cli));
  await (known ? run(process.execPath, [cli, ...args]) : run("npm", args));
}
