import type { AgentName, DeviceId, Hash } from "@vlinder/protocol";

/** A copy's part: a database, or the file that says what the copy is. */
const COPY =
  /^(?:objects|vectors)-\d{8}T\d{9}Z-[0-9a-f]{16}\.db(?:\.age)?$|^copy-\d{8}T\d{9}Z-[0-9a-f]{16}\.json(?:\.age)?$/;

export type DatabaseName = "objects" | "vectors";

/** Each machine's copies lie in a folder of its own: nobody else replaces them. */
export function copyFolder(agent: AgentName, device: DeviceId): string {
  return `agents/${agent}/databases/${device}/`;
}

/** @param hash of the file's bytes: two copies of one moment have two names */
export function copyName(part: DatabaseName | "copy", time: Date, hash: Hash, isSealed: boolean): string {
  const when = time.toISOString().replaceAll(/[-:.]/g, "");
  return `${part}-${when}-${hash.slice(0, 16)}.${part === "copy" ? "json" : "db"}${isSealed ? ".age" : ""}`;
}

export function isDatabaseName(text: unknown): text is DatabaseName {
  return text === "objects" || text === "vectors";
}

/** Where a manifest lies, and what its path says of it. */
export interface ManifestName {
  readonly agent: string;
  readonly device: DeviceId;
  /** ISO 8601. */
  readonly time: string;
  /** The first digits of the hash of its bytes. */
  readonly hash: string;
  readonly isSealed: boolean;
}

const MANIFEST =
  /^agents\/([^/]+)\/databases\/([0-9a-f]{32})\/copy-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z-([0-9a-f]{16})\.json(\.age)?$/;

/** Null: a path of something else. */
export function parseManifestPath(path: string): ManifestName | null {
  const match = MANIFEST.exec(path);
  if (match === null) return null;
  const [, agent = "", device = "", year, month, day, hour, minute, second, milli, hash = "", sealed] = match;
  const time = `${year}-${month}-${day}T${hour}:${minute}:${second}.${milli}Z`;
  return { agent, device: device as DeviceId, time, hash, isSealed: sealed !== undefined };
}

/** Whether a file in a machine's folder is a part of a copy. Anything else is somebody's, and left alone. */
export function isCopyName(name: string): boolean {
  return COPY.test(name);
}
