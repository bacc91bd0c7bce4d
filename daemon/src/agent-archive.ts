import { mkdtemp, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import {
  type AdminReplies,
  type AgentName,
  type BranchName,
  hashCommit,
  invalid,
  type Progress,
  VlinderError,
} from "@vlinder/protocol";
import { keptData } from "./registry/agent-errors.ts";
import type { Home } from "./registry/home.ts";
import type { Registry } from "./registry/registry.ts";
import { renameHistory } from "./renamed-history.ts";
import { StateEngine } from "./state/engine.ts";
import { firstCommit } from "./state/mutations.ts";
import { openObjectStorage } from "./storage/objects.ts";
import { exportArchive } from "./sync/archive/export.ts";
import { Archive, type Imported } from "./sync/archive/import.ts";
import type { VectorIndex } from "./vectors/vector-index.ts";

type Agents = Registry<StateEngine, VectorIndex>;

export interface ExportRequest {
  readonly agent: AgentName;
  /** Absolute. */
  readonly path: string;
  readonly branch: BranchName | undefined;
  readonly overwrite: boolean;
  readonly progress: (progress: Progress) => void;
}

export interface ImportRequest {
  readonly path: string;
  /** An agent that is here and takes what is in the file; absent: the file brings a new one. */
  readonly into: AgentName | undefined;
  /** Another name for the new agent. */
  readonly name: AgentName | undefined;
  readonly progress: (progress: Progress) => void;
}

/** @throws not_registered, and what `exportArchive` throws */
export async function exportAgent(agents: Agents, request: ExportRequest): Promise<AdminReplies["agents.export"]> {
  const { agent, path, branch, ...rest } = request;
  const { engine } = agents.get(agent);
  const done = await exportArchive({ agent, exchange: engine, path, ...(branch && { branch }), ...rest });
  return { agent, path, ...done };
}

/**
 * All or nothing for a new agent; into one that is here it is a pull: what it stored before it failed is
 * seen by nobody. @throws conflict: the agent is here; invalid, too_large: see `Archive`; unavailable: no space
 */
export async function importAgent(
  agents: Agents,
  home: Home,
  { path, into, name, progress }: ImportRequest,
): Promise<AdminReplies["agents.import"]> {
  const archive = await Archive.open(path);
  try {
    await requireSpace(home.path, archive.contents.raw * (name === undefined ? 1 : 2));
    const { agent } = archive;
    if (into !== undefined && into !== agent) {
      throw invalid(`${path} holds the agent "${agent}", not "${into}": their histories have nothing in common`, {
        remedy: `--into ${agent}, or none for a new agent`,
      });
    }
    if (into !== undefined) return replyOf(agent, false, await archive.into(agents.get(into).engine, progress));
    requireMain(archive, path);
    const target = name ?? agent;
    let imported: Imported | null = null;
    await agents.bring(target, async (engine) => {
      imported =
        target === agent
          ? await archive.into(engine, progress)
          : await renamed(archive, { name: target, engine, scratch: home.run, progress });
    });
    if (imported === null) throw new VlinderError("internal", `agent "${target}" was brought without its history`);
    return replyOf(target, true, imported);
  } finally {
    await archive.close();
  }
}

/** By way of a storage of its own, where the history is checked under the name that it has. */
async function renamed(
  archive: Archive,
  to: {
    readonly name: AgentName;
    readonly engine: StateEngine;
    readonly scratch: string;
    readonly progress: (progress: Progress) => void;
  },
): Promise<Imported> {
  const { name, engine, scratch, progress } = to;
  // What a removed agent kept is another history, or this one already: one of them would have to give way.
  if (engine.branches().length > 0) throw keptData(name);
  const folder = await mkdtemp(join(scratch, "rename-"));
  try {
    const path = join(folder, "objects.db");
    const storage = await openObjectStorage({ scheme: "sqlite", path, uri: `sqlite://${path}`, durability: "process" });
    const device = (): never => {
      throw new Error("nothing is committed under the old name");
    };
    const before = await StateEngine.open({ agent: archive.agent, storage, device });
    try {
      const imported = await archive.into(before, progress);
      const branches = await renameHistory(before, archive.contents.manifest.branches, name, engine);
      return { ...imported, branches: await engine.integrate(branches) };
    } finally {
      await before.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An agent has a main: it begins with a commit that is known from its name. */
function requireMain({ agent, contents }: Archive, path: string): void {
  const main = hashCommit(firstCommit(agent));
  if (contents.manifest.branches.some(({ id, head }) => id === main && head !== null)) return;
  const [one] = contents.manifest.branches;
  throw invalid(`${path} holds the branch "${one?.name ?? ""}" of "${agent}" without main`, {
    remedy: `--into ${agent} brings it to an agent that is here; a new one needs main too: export without --branch`,
  });
}

/** What is unpacked may be refused half-way; the disk is not to be full until then. */
async function requireSpace(home: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(home);
  if (bavail * bsize > needed) return;
  throw new VlinderError("unavailable", `the archive unpacks to ${needed} bytes, and ${bavail * bsize} are free`, {
    remedy: `free space on the disk that holds ${home}`,
    details: { needed, free: bavail * bsize },
  });
}

function replyOf(agent: AgentName, created: boolean, imported: Imported): AdminReplies["agents.import"] {
  const { commits, objects, bytes, branches } = imported;
  return {
    agent,
    created,
    commits,
    objects,
    bytes,
    branches: branches.map(({ name, result, head, conflicts }) => ({ name, result, state: head, conflicts })),
    notes: branches.flatMap(({ notes }) => notes),
  };
}
