/** A nats-server for vlinderd to start: found, or fetched where that needs no administrator. */
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { capture, say, ScriptError, tools } from "./command.mjs";

const FILE = process.platform === "win32" ? "nats-server.exe" : "nats-server";

function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not executable: the same to a search
  }
}

/** Where the Debian package puts it, and where a person would. */
export const inTools = ["nats/usr/sbin", "nats/usr/bin", "nats", "."].map((folder) => path.join(tools, folder, FILE));

function onPath() {
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter(Boolean);
  return folders.map((folder) => path.join(folder, FILE)).find(isProgram);
}

/**
 * `apt-get download` and `dpkg-deb -x`: no root, and no system service on port 4222. When the
 * machine's package lists do not know it (a fresh container has none), lists of our own are fetched
 * into the temporary folder, which needs no root either.
 */
function fetchWithApt() {
  const folder = mkdtempSync(path.join(os.tmpdir(), "vlinder-apt-"));
  try {
    const options = [];
    let done = capture("apt-get", ["download", "nats-server"], { cwd: folder });
    if (done === null) return "there is no apt-get";
    if (done.code !== 0) {
      say("the package lists do not know nats-server: fetching them (apt-get update, into a temporary folder)");
      mkdirSync(path.join(folder, "lists", "partial"), { recursive: true });
      mkdirSync(path.join(folder, "cache", "archives", "partial"), { recursive: true });
      options.push("-o", `Dir::State::lists=${folder}/lists`, "-o", `Dir::Cache=${folder}/cache`);
      if (process.getuid?.() === 0) options.push("-o", "APT::Sandbox::User=root");
      const update = capture("apt-get", [...options, "update"], { cwd: folder });
      done = capture("apt-get", [...options, "download", "nats-server"], { cwd: folder });
      if (done.code !== 0) return `apt-get: ${update.code === 0 ? done.output : update.output}`;
    }
    const deb = readdirSync(folder).find((name) => name.endsWith(".deb"));
    if (deb === undefined) return "apt-get download left no package";
    mkdirSync(path.join(tools, "nats"), { recursive: true });
    const unpacked = capture("dpkg-deb", ["-x", path.join(folder, deb), path.join(tools, "nats")]);
    if (unpacked === null) return "there is no dpkg-deb";
    return unpacked.code === 0 ? null : `dpkg-deb: ${unpacked.output}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function fetchWithHomebrew() {
  const done = capture("brew", ["install", "nats-server"]);
  if (done === null) return "there is no Homebrew";
  return done.code === 0 ? null : `brew: ${done.output}`;
}

function installLine() {
  if (process.platform === "darwin") return "brew install nats-server";
  if (process.platform === "win32") return "choco install nats-server";
  return "sudo apt-get install nats-server     (Debian, Ubuntu; elsewhere: https://nats.io/download)";
}

/** Sees to it that vlinderd will find a nats-server. */
export function ensureNatsServer() {
  const named = process.env.VLINDER_NATS_SERVER;
  if (named) {
    if (isProgram(named)) return;
    throw new ScriptError(
      `VLINDER_NATS_SERVER names no program: ${named}\nCorrect it, or unset it to have one fetched`,
    );
  }
  if (inTools.some(isProgram) || onPath() !== undefined) return;
  say("no nats-server here: fetching one");
  const problem =
    process.platform === "darwin" ? fetchWithHomebrew() : process.platform === "linux" ? fetchWithApt() : "";
  if (problem === null && (inTools.some(isProgram) || onPath() !== undefined)) return;
  throw new ScriptError(
    `no nats-server could be had${problem ? ` (${problem})` : ""}. Install it, 2.9.10 or newer:\n\n  ${installLine()}\n\n` +
      "or set VLINDER_NATS_SERVER to where it is",
  );
}
