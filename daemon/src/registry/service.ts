import { execFile } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { promisify } from "node:util";
import { asVlinderError, invalid, VlinderError } from "@vlinder/protocol";
import { writeFileAtomic } from "./atomic-file.ts";
import { exists } from "./provision.ts";
import { LAUNCHD_LABEL, launchdPlist, type ServiceSpec, systemdUnit } from "./service-unit.ts";

/** Runs a command of the machine and resolves when it has succeeded. */
export type RunCommand = (file: string, args: readonly string[]) => Promise<unknown>;

/** The machine that a service is installed on; tests give one of their own. */
export interface ServiceHost {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
  readonly userHome: string;
  readonly uid: number;
  readonly run: RunCommand;
}

export interface ServiceReply {
  /** The file that was written or removed. */
  readonly path: string;
  /** Commands to run next, as they are. */
  readonly next: readonly string[];
  readonly notes: readonly string[];
}

const execute = promisify(execFile);

export function thisHost(): ServiceHost {
  return {
    platform: process.platform,
    env: process.env,
    userHome: homedir(),
    uid: process.getuid?.() ?? 0,
    run: (file, args) => execute(file, [...args], { timeout: 20_000 }),
  };
}

/** Writes the service's definition; starts nothing. @throws unavailable: no systemd or launchd here; denied */
export async function installService(spec: ServiceSpec, host: ServiceHost = thisHost()): Promise<ServiceReply> {
  for (const path of [spec.node, spec.vlinderd, spec.home]) {
    if (!isAbsolute(path))
      throw invalid(`a service needs absolute paths, not ${path}`, { remedy: "give the whole path" });
  }
  const path = servicePath(spec.system, host);
  const text = host.platform === "darwin" ? launchdPlist(spec) : systemdUnit(spec);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, text, 0o644);
  } catch (error) {
    throw notAllowed(path, error);
  }
  if (host.platform === "darwin")
    return { path, next: [`launchctl bootstrap ${domain(spec.system, host)} ${shell(path)}`], notes: [] };
  const systemctl = systemctlOf(spec.system);
  const notes = await attempt(host, systemctl, ["daemon-reload"]);
  const next = [[...systemctl, "enable", "--now", "vlinderd"].join(" ")];
  // Without it a user's services end when the user logs out.
  if (!spec.system) next.push("loginctl enable-linger");
  next.push(spec.system ? "journalctl -u vlinderd -f" : "journalctl --user -u vlinderd -f");
  return { path, next, notes };
}

/** Stops the service where it runs and removes its definition. @throws not_found: it was not installed */
export async function uninstallService(system: boolean, host: ServiceHost = thisHost()): Promise<ServiceReply> {
  const path = servicePath(system, host);
  if (!(await exists(path))) {
    throw new VlinderError("not_found", `no service is installed: there is no ${path}`, {
      remedy: system ? "without --system it may be the user's" : "with --system it may be the machine's",
    });
  }
  const stop =
    host.platform === "darwin"
      ? { command: ["launchctl"], args: ["bootout", `${domain(system, host)}/${LAUNCHD_LABEL}`] }
      : { command: systemctlOf(system), args: ["disable", "--now", "vlinderd"] };
  const notes = await attempt(host, stop.command, stop.args);
  try {
    await rm(path);
  } catch (error) {
    throw notAllowed(path, error);
  }
  if (host.platform !== "darwin") notes.push(...(await attempt(host, systemctlOf(system), ["daemon-reload"])));
  return { path, next: [], notes };
}

function servicePath(system: boolean, { platform, env, userHome }: ServiceHost): string {
  if (platform === "darwin") {
    return join(system ? "/Library/LaunchDaemons" : join(userHome, "Library/LaunchAgents"), `${LAUNCHD_LABEL}.plist`);
  }
  if (platform !== "linux") {
    throw new VlinderError("unavailable", `there is no systemd or launchd on ${platform}`, {
      remedy: "start `vlinderd` with what this system has for that",
      retryable: false,
    });
  }
  const config = env["XDG_CONFIG_HOME"];
  const user = config !== undefined && isAbsolute(config) ? config : join(userHome, ".config");
  return join(system ? "/etc/systemd/system" : join(user, "systemd/user"), "vlinderd.service");
}

function systemctlOf(system: boolean): string[] {
  return system ? ["systemctl"] : ["systemctl", "--user"];
}

function domain(system: boolean, { uid }: ServiceHost): string {
  return system ? "system" : `gui/${uid}`;
}

/** The file is what counts: a command that fails (no user session, no systemd in a container) becomes a note. */
async function attempt(host: ServiceHost, command: readonly string[], args: readonly string[]): Promise<string[]> {
  const [file, ...rest] = command as [string, ...string[]];
  try {
    await host.run(file, [...rest, ...args]);
    return [];
  } catch (error) {
    const why = asVlinderError(error).message.trim().split("\n").at(-1);
    return [`\`${[...command, ...args].join(" ")}\` failed: ${why}`];
  }
}

function notAllowed(path: string, cause: unknown): VlinderError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const denied = code === "EACCES" || code === "EPERM";
  return new VlinderError(denied ? "denied" : "unavailable", `${path} can't be changed: ${message}`, {
    remedy: denied ? "with --system it takes root: use sudo" : "make the folder writable",
    retryable: false,
    cause,
  });
}

function shell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
