import { mkdir, readdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type AgentName, type DeviceId, invalid, parseAgentName, VlinderError } from "@vlinder/protocol";
import { readOrMakeDevice } from "./device.ts";

/** `$VLINDER_HOME`: one daemon's whole world on disk. All paths are absolute. */
export interface Home {
  readonly path: string;
  readonly config: string;
  readonly agents: string;
  readonly creds: string;
  readonly run: string;
  readonly logs: string;
  readonly nats: string;
  /** This home's name among the machines that share a bucket; made once. */
  readonly device: DeviceId;
  /** Where an agent's storage and registration lie. */
  agentFolder(name: AgentName): string;
  /** The agent's NATS credentials. */
  agentCreds(name: AgentName): string;
}

/** The folder that `openHome` uses when it is given none. @throws invalid: VLINDER_HOME is empty */
export function homePath(env: NodeJS.ProcessEnv = process.env): string {
  const path = env["VLINDER_HOME"];
  if (path === "") throw invalid("VLINDER_HOME is empty", { remedy: "name a folder, or unset it for ~/.vlinder" });
  return path === undefined ? join(homedir(), ".vlinder") : resolve(path);
}

/**
 * Makes what is missing of the home, readable by its owner only. Takes no lock: `lockHome` does.
 * @throws unavailable: a folder can't be made; invalid: device.json is damaged
 */
export async function openHome(path: string = homePath()): Promise<Home> {
  const root = resolve(path);
  const folders = {
    agents: join(root, "agents"),
    creds: join(root, "creds"),
    run: join(root, "run"),
    logs: join(root, "logs"),
    nats: join(root, "nats"),
  };
  for (const folder of [root, ...Object.values(folders), join(folders.creds, "agents")]) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new VlinderError("unavailable", `the folder ${folder} can't be made: ${(cause as Error).message}`, {
        remedy: "make it writable, or name another home in VLINDER_HOME",
        retryable: false,
        cause,
      });
    }
  }
  return {
    path: root,
    config: join(root, "config.toml"),
    ...folders,
    device: await readOrMakeDevice(join(root, "device.json")),
    agentFolder: (name) => join(folders.agents, name),
    agentCreds: (name) => join(folders.creds, "agents", `${name}.creds`),
  };
}

/** Agents that have a folder in the home; one without a registration was interrupted before it began. */
export async function agentFolders(home: Home): Promise<AgentName[]> {
  const names: AgentName[] = [];
  for (const entry of await readdir(home.agents, { withFileTypes: true })) {
    if (!entry.isDirectory() && !entry.isSymbolicLink()) continue;
    const name = agentNameOrNull(entry.name);
    if (name !== null) names.push(name);
  }
  return names.toSorted();
}

function agentNameOrNull(text: string): AgentName | null {
  try {
    return parseAgentName(text);
  } catch {
    // A folder with any other name is nobody's: an editor's, or the file system's.
    return null;
  }
}

/** Where `vlinder provider set` keeps keys. */
export function providerKeys({ creds }: Pick<Home, "creds">): string {
  return join(creds, "providers");
}
