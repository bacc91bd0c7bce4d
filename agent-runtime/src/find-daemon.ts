import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { type DaemonFile, parseAgentName, VlinderError } from "@vlinder/protocol";

/** Where to look; what is absent comes from the environment, then from the home folder. */
export interface DaemonLocation {
  /** Whose credentials to use; absent: the administrator's. */
  readonly agent?: string;
  /** NATS URL, like nats://127.0.0.1:4322. */
  readonly url?: string;
  /** Path of a credentials file. */
  readonly creds?: string;
  /** The daemon's home; default `$VLINDER_HOME`, then `~/.vlinder`. */
  readonly home?: string;
}

export interface DaemonAddress {
  readonly url: string;
  /** Path of a credentials file; null where the server asks for none. */
  readonly creds: string | null;
}

/**
 * The daemon's address: what was given, else `VLINDER_URL` and `VLINDER_CREDS`, else what a running
 * daemon has written to `run/daemon.json` in its home. @throws unavailable when there is none
 */
export async function findDaemon(location: DaemonLocation): Promise<DaemonAddress> {
  const url = location.url ?? environment("VLINDER_URL");
  const creds = location.creds ?? environment("VLINDER_CREDS");
  if (url !== undefined) return { url, creds: creds ?? null };
  const home = location.home ?? environment("VLINDER_HOME") ?? join(homedir(), ".vlinder");
  const file = await readDaemonFile(home);
  if (creds !== undefined) return { url: file.url, creds };
  if (location.agent === undefined) return { url: file.url, creds: file.creds };
  return { url: file.url, creds: join(home, "creds", "agents", `${parseAgentName(location.agent)}.creds`) };
}

function environment(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

async function readDaemonFile(home: string): Promise<DaemonFile> {
  const path = join(home, "run", "daemon.json");
  let file: Partial<DaemonFile>;
  try {
    file = JSON.parse(await readFile(path, "utf8")) as Partial<DaemonFile>;
  } catch (cause) {
    throw noDaemon(`no daemon is running: ${path} can't be read`, cause);
  }
  const { url, creds, pid, version } = file;
  if (typeof url !== "string" || typeof creds !== "string") throw noDaemon(`${path} has no url and creds`);
  return { url, creds, pid: Number(pid), version: String(version) };
}

export function noDaemon(message: string, cause?: unknown): VlinderError {
  return new VlinderError("unavailable", message, { cause, remedy: "start it: vlinderd" });
}
