/** A Node that is new enough for the project: this one, or one from npm in `.tools/node`. */
import { existsSync } from "node:fs";
import path from "node:path";
import { npm, say, ScriptError, tools } from "./command.mjs";

const WANTED = [22, 18];
const FETCHED = "24";

export function isNewEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  return major > WANTED[0] || (major === WANTED[0] && minor >= WANTED[1]);
}

/** The npm package that carries Node's program for this machine. The names are those of npm's `node` package. */
function nodePackage() {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const prefix = process.platform === "darwin" && process.arch === "arm64" ? "node-bin" : "node";
  return `${prefix}-${platform}-${process.arch}`;
}

export function fetchedNode() {
  const file = process.platform === "win32" ? "node.exe" : "node";
  return path.join(tools, "node", "node_modules", nodePackage(), "bin", file);
}

/** The path of a Node >= 22.18; fetches one when this machine's is older. */
export function ensureNode() {
  if (isNewEnough(process.versions.node)) return process.execPath;
  const file = fetchedNode();
  if (!existsSync(file)) {
    say(
      `Node ${process.versions.node} is older than ${WANTED.join(".")}: fetching Node ${FETCHED} from npm into .tools/node`,
    );
    const prefix = path.join(tools, "node");
    try {
      npm(
        ["install", "--prefix", prefix, "--no-save", "--no-package-lock", `${nodePackage()}@${FETCHED}`],
        process.env,
        process.execPath,
      );
    } catch (error) {
      throw new ScriptError(
        `${error.message}\nInstall Node ${WANTED.join(".")} or newer (https://nodejs.org) by hand, and try again`,
      );
    }
    if (!existsSync(file)) throw new ScriptError(`npm installed no ${file}: install Node ${WANTED.join(".")} by hand`);
  }
  return file;
}

/** The environment in which `node` is that Node for everything started below. */
export function withNode(node) {
  const env = { ...process.env };
  const key = Object.keys(env).find((name) => name.toUpperCase() === "PATH") ?? "PATH";
  env[key] = [path.dirname(node), env[key]].filter(Boolean).join(path.delimiter);
  return env;
}
