/** A nats-server for vlinderd to start: found, or fetched where that needs no administrator. */
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { unpackDebian } from "./apt.mjs";
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
    process.platform === "darwin"
      ? fetchWithHomebrew()
      : process.platform === "linux"
        ? unpackDebian(["nats-server"], path.join(tools, "nats"))
        : "";
  if (problem === null && (inTools.some(isProgram) || onPath() !== undefined)) return;
  throw new ScriptError(
    `no nats-server could be had${problem ? ` (${problem})` : ""}. Install it, 2.9.10 or newer:\n\n  ${installLine()}\n\n` +
      "or set VLINDER_NATS_SERVER to where it is",
  );
}
