import { existsSync } from "node:fs";
import { join } from "node:path";
import { findServerProgram, type ServerProgram } from "../../../daemon/src/broker/server-program.ts";
import { isAtLeast } from "../../../daemon/src/broker/version.ts";
import { unpackDebian } from "./debian.ts";
import { TOOLS } from "./run.ts";

/** The first version that can be told to fsync every write of JetStream. */
const SYNC_ALWAYS = "2.10.0";
const FOLDER = join(TOOLS, "nats-newer");
/** Names of Debian's releases, the oldest first that has it. */
const SUITES = ["trixie", "stable"];

export function knowsSyncAlways({ version }: ServerProgram): boolean {
  return isAtLeast(version, SYNC_ALWAYS);
}

/**
 * The nats-server for the daemon and for the peers: the one that the daemon would start, or where that is
 * too old for `sync_interval: always`, a newer one of Debian's in `.tools`. From now on the daemons that
 * this process starts take it too.
 */
export async function chooseNatsServer(say: (line: string) => void): Promise<ServerProgram> {
  const usual = await findServerProgram(process.env);
  if (knowsSyncAlways(usual) || process.env.VLINDER_NATS_SERVER) return usual;
  const problem = await fetchNewer(say);
  const file = newerFile();
  if (file === undefined) {
    say(`no nats-server newer than ${usual.version}: ${problem ?? "the package has none"}`);
    return usual;
  }
  process.env.VLINDER_NATS_SERVER = file;
  return await findServerProgram(process.env);
}

function newerFile(): string | undefined {
  return ["usr/sbin", "usr/bin"].map((folder) => join(FOLDER, folder, "nats-server")).find((file) => existsSync(file));
}

/** What went wrong; null when it is there. */
async function fetchNewer(say: (line: string) => void): Promise<string | null> {
  let problem: string | null = null;
  for (const suite of SUITES) {
    if (newerFile() !== undefined) return null;
    say(`fetching nats-server ${SYNC_ALWAYS} or newer from Debian ${suite} into .tools`);
    try {
      await unpackDebian(["nats-server"], FOLDER, suite);
    } catch (error) {
      problem = (error as Error).message;
    }
  }
  return problem;
}
