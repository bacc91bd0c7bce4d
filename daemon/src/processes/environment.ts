import { delimiter, dirname } from "node:path";

/** What an agent has of the daemon's environment. All else stays here: keys of providers, VLINDER_*, tokens. */
const PASSED: ReadonlySet<string> = new Set([
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
  "LANG",
  "LANGUAGE",
  "TZ",
  "TMPDIR",
  "TMP",
  "TEMP",
  "XDG_CACHE_HOME",
  "XDG_CONFIG_HOME",
  "XDG_DATA_HOME",
  "XDG_RUNTIME_DIR",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
]);
const LOCALE = /^LC_[A-Z]+$/;
const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Names the start that a process belongs to, and so does every process that it starts. */
export const MARK = "VLINDER_PROCESS";

export interface AgentAccess {
  /** Of NATS. */
  readonly url: string;
  /** Path of the agent's own credentials; null: the server asks for none. */
  readonly creds: string | null;
}

/**
 * The environment of an agent's process: a few harmless variables of the daemon's, and what `connect()` reads. Node's own
 * folder comes first in PATH, so that "node main.ts" is run by the Node that the daemon was started with.
 */
export function agentEnvironment(
  daemon: NodeJS.ProcessEnv,
  { agent, access, mark, node }: { agent: string; access: AgentAccess; mark: string; node: string },
): Record<string, string> & { readonly PATH: string } {
  const passed = Object.entries(daemon).filter(
    (pair): pair is [string, string] => pair[1] !== undefined && (PASSED.has(pair[0]) || LOCALE.test(pair[0])),
  );
  return {
    ...Object.fromEntries(passed),
    PATH: [dirname(node), daemon["PATH"] ?? DEFAULT_PATH].join(delimiter),
    VLINDER_AGENT: agent,
    VLINDER_URL: withoutUser(access.url),
    ...(access.creds === null ? {} : { VLINDER_CREDS: access.creds }),
    [MARK]: mark,
  };
}

/** A configured URL may hold the daemon's own password. */
function withoutUser(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, "$1");
}
