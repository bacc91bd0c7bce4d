import { invalid } from "@vlinder/protocol";
import { NODE_FLAGS, PROGRAM_ENVIRONMENT } from "../node-flags.ts";

/** What a service definition says. Paths are absolute. */
export interface ServiceSpec {
  /** Node's own file. */
  readonly node: string;
  /** `vlinderd.mjs`. */
  readonly vlinderd: string;
  readonly home: string;
  /** For the whole machine; else for the user who is logged in. */
  readonly system: boolean;
  /** Who the machine's service runs as. */
  readonly user: string;
  /** Whether config.toml names a NATS server that somebody else runs. */
  readonly externalNats: boolean;
}

/**
 * A systemd unit. It waits for the daemon to say that it is up (`systemd-notify` runs as a child, so
 * NotifyAccess=all). Never MemoryDenyWriteExecute: V8 makes code at run time and would abort.
 */
export function systemdUnit(spec: ServiceSpec): string {
  const after = [
    ...(spec.system ? ["network-online.target"] : []),
    ...(spec.externalNats ? ["nats-server.service"] : []),
  ];
  return lines([
    "[Unit]",
    "Description=vlinder, storage for AI agents",
    // Wants, not Requires: the daemon outlives a NATS server that stops, and connects again.
    ...(after.length === 0 ? [] : [`Wants=${after.join(" ")}`, `After=${after.join(" ")}`]),
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=all",
    `ExecStart=${[systemdProgram(spec.node), ...NODE_FLAGS, systemdArgument(spec.vlinderd)].join(" ")}`,
    `Environment=${systemdQuoted(`VLINDER_HOME=${spec.home}`)}`,
    ...Object.entries(PROGRAM_ENVIRONMENT).map(([name, value]) => `Environment=${systemdQuoted(`${name}=${value}`)}`),
    ...(spec.system ? [`User=${userName(spec.user)}`] : []),
    "Restart=on-failure",
    "RestartSec=2",
    // On a stop the daemon answers what it accepted and pushes what it owes; then all is ended.
    "KillMode=mixed",
    // An agent that takes too much memory is ended, and not the daemon with all the others.
    "OOMPolicy=continue",
    "TimeoutStopSec=60",
    "LimitNOFILE=65536",
    "UMask=0077",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    ...(spec.system
      ? ["ProtectSystem=full", "ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectControlGroups=yes"]
      : []),
    "",
    "[Install]",
    `WantedBy=${spec.system ? "multi-user.target" : "default.target"}`,
  ]);
}

/** A launchd property list. */
export function launchdPlist(spec: ServiceSpec): string {
  const log = `${spec.home}/logs/vlinderd.log`;
  return lines([
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    '<plist version="1.0">',
    "<dict>",
    `  <key>Label</key><string>${LAUNCHD_LABEL}</string>`,
    "  <key>ProgramArguments</key>",
    `  <array>${[spec.node, ...NODE_FLAGS, spec.vlinderd].map((word) => `<string>${xml(word)}</string>`).join("")}</array>`,
    "  <key>EnvironmentVariables</key>",
    `  <dict><key>VLINDER_HOME</key><string>${xml(spec.home)}</string></dict>`,
    ...(spec.system ? [`  <key>UserName</key><string>${xml(userName(spec.user))}</string>`] : []),
    "  <key>RunAtLoad</key><true/>",
    "  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>",
    "  <key>ExitTimeOut</key><integer>60</integer>",
    "  <key>Umask</key><integer>63</integer>",
    `  <key>StandardErrorPath</key><string>${xml(log)}</string>`,
    "</dict>",
    "</plist>",
  ]);
}

export const LAUNCHD_LABEL = "dev.vlinder.vlinderd";

/** The first word of ExecStart: `%` starts a specifier, and `$` means nothing. */
function systemdProgram(path: string): string {
  return systemdQuoted(path);
}

/** A further word of ExecStart: here `$` starts a variable, too. */
function systemdArgument(text: string): string {
  return systemdQuoted(text).replaceAll("$", "$$$$");
}

function systemdQuoted(text: string): string {
  return `"${plain(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%")}"`;
}

function xml(text: string): string {
  return plain(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (!/[\x00-\x1f\x7f]/.test(text)) return text;
  throw invalid(`a service can't be made with control characters in ${JSON.stringify(text)}`, {
    remedy: "use a path without them",
  });
}

function userName(text: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_.-]*\$?$/.test(text)) return text;
  throw invalid(`not a user's name: ${JSON.stringify(text)}`, { remedy: "name a user of this machine" });
}

function lines(all: readonly string[]): string {
  return `${all.join("\n")}\n`;
}
