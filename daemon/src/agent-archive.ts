import { statfs } from "node:fs/promises";
import {
  type AdminReplies,
  type AgentName,
  type BranchName,
  hashCommit,
  invalid,
  type Progress,
  VlinderError,
} from "@vlinder/protocol";
import type { Registry } from "./registry/registry.ts";
import type { StateEngine } from "./state/engine.ts";
import { firstCommit } from "./state/mutations.ts";
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
  home: string,
  { path, into, progress }: ImportRequest,
): Promise<AdminReplies["agents.import"]> {
  const archive = await Archive.open(path);
  try {
    await requireSpace(home, archive.contents.raw);
    const { agent } = archive;
    if (into !== undefined && into !== agent) {
      throw invalid(`${path} holds the agent "${agent}", not "${into}": their histories have nothing in common`, {
        remedy: `--into ${agent}, or none for a new agent`,
      });
    }
    if (into !== undefined) return replyOf(agent, false, await archive.into(agents.get(into).engine, progress));
    requireMain(archive, path);
    let imported: Imported | null = null;
    await agents.bring(agent, async (engine) => {
      imported = await archive.into(engine, progress);
    });
    if (imported === null) throw new VlinderError("internal", `agent "${agent}" was brought without its history`);
    return replyOf(agent, true, imported);
  } finally {
    await archive.close();
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
