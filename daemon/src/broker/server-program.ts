import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { asVlinderError, VlinderError } from "@vlinder/protocol";
import { isAtLeast, OLDEST_SERVER } from "./version.ts";

const execFileAsync = promisify(execFile);
const FILE = process.platform === "win32" ? "nats-server.exe" : "nats-server";

/** Where packages put it; a user's PATH on Debian, or a service's on macOS, lacks these. */
const USUAL = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

export interface ServerProgram {
  readonly file: string;
  readonly version: string;
}

const INSTALL = [
  "install nats-server, or set VLINDER_NATS_SERVER to where it is, or [nats] url to a running one:",
  "  Debian, Ubuntu:  sudo apt-get install nats-server && sudo systemctl disable --now nats-server",
  "  macOS:           brew install nats-server",
  "  Windows:         choco install nats-server",
  "  others:          https://nats.io/download",
].join("\n");

/**
 * The nats-server to start: `VLINDER_NATS_SERVER`, then PATH, then `.tools/` of the clone, where
 * `npm run quickstart` puts one.
 *
 * @throws unavailable, with the line to install one
 */
export async function findServerProgram(env: NodeJS.ProcessEnv, from = import.meta.dirname): Promise<ServerProgram> {
  const named = env.VLINDER_NATS_SERVER;
  if (named !== undefined && named !== "") {
    if (await isProgram(named)) return withVersion(named);
    throw new VlinderError("unavailable", `VLINDER_NATS_SERVER names no program: ${named}`, {
      remedy: "correct it, or unset it to have PATH searched",
      retryable: false,
    });
  }
  const onPath = [...(env.PATH ?? "").split(path.delimiter).filter((folder) => folder !== ""), ...USUAL];
  for (const file of [...onPath.map((folder) => path.join(folder, FILE)), ...inTools(from)]) {
    if (await isProgram(file)) return withVersion(file);
  }
  throw new VlinderError("unavailable", "no nats-server was found in VLINDER_NATS_SERVER, PATH or .tools", {
    remedy: INSTALL,
    retryable: false,
  });
}

/** In `.tools` of this folder and of every one above it, as the Debian package lays it out or bare. */
function inTools(from: string): string[] {
  const tools: string[] = [];
  for (let folder = from; ; folder = path.dirname(folder)) {
    tools.push(path.join(folder, ".tools"));
    if (path.dirname(folder) === folder) break;
  }
  return tools.flatMap((folder) =>
    ["nats/usr/sbin", "nats/usr/bin", "nats", "."].map((inner) => path.join(folder, inner, FILE)),
  );
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not executable: the same to a search
  }
}

async function withVersion(file: string): Promise<ServerProgram> {
  const output = await execFileAsync(file, ["--version"], { timeout: 10_000 }).catch((error: unknown) => {
    throw new VlinderError("unavailable", `${file} can't be run: ${asVlinderError(error).message}`, {
      cause: error,
      remedy: INSTALL,
      retryable: false,
    });
  });
  const version = /v(\d+\.\d+\.\d+\S*)/.exec(output.stdout)?.[1];
  if (version === undefined || !isAtLeast(version, OLDEST_SERVER)) {
    throw new VlinderError(
      "unavailable",
      `${file} is ${output.stdout.trim()}; vlinder needs ${OLDEST_SERVER} or newer`,
      {
        details: { file, oldest: OLDEST_SERVER },
        remedy: INSTALL,
        retryable: false,
      },
    );
  }
  return { file, version };
}
