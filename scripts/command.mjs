/** Running other programs from the scripts. Plain JavaScript: the scripts start on Node 18. */
import { spawn, spawnSync } from "node:child_process";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
export const tools = path.join(root, ".tools");

/** What went wrong and what to do about it; `run.mjs` prints it and ends with code 1. */
export class ScriptError extends Error {}

export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** Runs a program with this terminal, and answers its exit code. Signals that end us go to it first. */
export function run(file, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd: root, env, stdio: "inherit" });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
      // The terminal has sent its SIGINT to the child already.
      process.on(signal, () => (signal !== "SIGINT" || !process.stdin.isTTY ? child.kill(signal) : undefined));
    }
    child.on("error", (error) => reject(new ScriptError(`${file} could not be run: ${error.message}`)));
    child.on("exit", (code, signal) => resolve(code ?? 128 + os.constants.signals[signal]));
  });
}

/** Runs a program and answers its exit code and what it printed, `null` when there is no such program. */
export function capture(file, args, options = {}) {
  const done = spawnSync(file, args, { cwd: root, encoding: "utf8", ...options });
  if (done.error) {
    if (done.error.code === "ENOENT") return null;
    throw new ScriptError(`${file} could not be run: ${done.error.message}`);
  }
  return { code: done.status ?? 1, stdout: done.stdout, output: `${done.stdout}${done.stderr}`.trim() };
}

/**
 * Runs npm under the Node of `env`. The npm that started us is asked first: it is named by a file,
 * so that Windows needs no shell.
 */
export function npm(args, env, node) {
  const cli = process.env.npm_execpath;
  const quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
  const done =
    cli !== undefined && path.basename(cli) === "npm-cli.js"
      ? capture(node, [cli, ...args, ...quiet], { env })
      : capture("npm", [...args, ...quiet], { env, shell: process.platform === "win32" });
  if (done === null) throw new ScriptError("npm was not found: install npm, or put it on PATH, and try again");
  if (done.code !== 0) throw new ScriptError(`npm ${args.join(" ")} failed:\n${done.output}`);
}
