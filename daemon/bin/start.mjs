/**
 * Starts a TypeScript program on a Node that can run it. Plain JavaScript for any Node >= 18: on an
 * older one the Node that `npm run quickstart` fetched into `.tools/node` takes over, and where there
 * is none, the reader is told what to do.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import nodeModule from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const WANTED = [22, 18];

function isNewEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  return major > WANTED[0] || (major === WANTED[0] && minor >= WANTED[1]);
}

/** Node says once per process that type stripping is experimental; who types `vlinder` is not to care. */
function withoutExperimentalWarnings() {
  const { emitWarning } = process;
  process.emitWarning = (warning, ...rest) => {
    const type = typeof rest[0] === "object" ? rest[0]?.type : rest[0];
    if (type === "ExperimentalWarning" || warning?.name === "ExperimentalWarning") return;
    emitWarning.call(process, warning, ...rest);
  };
}

/**
 * Keeps what Node makes of the sources, so that the next start need not: half of a command's time, and a
 * part of the daemon's start, most of which is reading TypeScript. In the home, which only its owner can write to (what is there is run), and not made for it.
 * (An older Node has no such export: importing it by name would end the program before it can hand over.)
 */
function cacheCompiled() {
  const run = path.join(process.env.VLINDER_HOME || path.join(os.homedir(), ".vlinder"), "run");
  if (!process.env.NODE_COMPILE_CACHE && existsSync(run))
    nodeModule.enableCompileCache(path.join(run, "compile-cache"));
}

function fetchedNode(folder) {
  const packages = path.join(folder, "..", ".tools", "node", "node_modules");
  if (!existsSync(packages)) return undefined;
  const file = process.platform === "win32" ? "node.exe" : "node";
  return readdirSync(packages)
    .filter((name) => name.startsWith("node-"))
    .map((name) => path.join(packages, name, "bin", file))
    .find((candidate) => existsSync(candidate));
}

/** Runs this same command line under another Node; signals go down, the exit code comes up. */
function handOver(node) {
  const child = spawn(node, [...process.execArgv, ...process.argv.slice(1)], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    // The terminal sends SIGINT to the child as well; a second one from here would count as impatience.
    process.on(signal, () => (signal !== "SIGINT" || !process.stdin.isTTY ? child.kill(signal) : undefined));
  }
  child.on("error", (error) => {
    process.stderr.write(`vlinder: ${node} could not be run: ${error.message}\n`);
    process.exitCode = 2;
  });
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + (signal === null ? 0 : os.constants.signals[signal]);
  });
}

/** @param {string} program a file under `src`, without its extension */
export async function start(program) {
  const folder = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
  if (isNewEnough(process.versions.node)) {
    withoutExperimentalWarnings();
    cacheCompiled();
    const source = path.join(folder, "src", `${program}.ts`);
    const built = path.join(folder, "program", `${path.basename(program)}.js`);
    await import(pathToFileURL(existsSync(source) ? source : built).href);
    return;
  }
  const node = fetchedNode(folder);
  if (node !== undefined) return handOver(node);
  process.stderr.write(
    `vlinder needs Node ${WANTED.join(".")} or newer, and this is ${process.versions.node}.\n` +
      "In a clone, `npm run quickstart` or `node scripts/run.mjs check` fetches one into .tools; " +
      "else install it from https://nodejs.org\n",
  );
  process.exitCode = 2;
}
