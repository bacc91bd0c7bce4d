import { type AgentName, canonicalJson, type DeviceId, type Hash } from "@vlinder/protocol";
import type { CopiedBranch } from "./database-copy.ts";
import type { DatabaseName } from "./names.ts";

export interface CopyFile {
  readonly bytes: number;
  readonly database: DatabaseName;
  /** In the same folder. */
  readonly name: string;
  readonly sha256: Hash;
}

const ABOUT =
  "A copy of an agent's SQLite files, made by vlinder for people: download one and open it with sqlite3. " +
  "Machines do not read it: they sync by packs. docs/formats.md of vlinder says what is in which table.";

/** The file that makes a copy whole: written last, and what it names is there. */
export function encodeManifest({
  agent,
  branches,
  device,
  files,
  time,
}: {
  readonly agent: AgentName;
  /** Live ones and their heads, as they are in the copy. */
  readonly branches: readonly CopiedBranch[];
  readonly device: DeviceId;
  readonly files: readonly CopyFile[];
  /** When it was made, ISO 8601. */
  readonly time: string;
}): Buffer {
  const text = canonicalJson({
    about: ABOUT,
    agent,
    branches: branches.map((branch) => ({ ...branch })),
    device,
    files: files.map((file) => ({ ...file })),
    time,
    v: 1,
  });
  return Buffer.from(text, "utf8");
}
