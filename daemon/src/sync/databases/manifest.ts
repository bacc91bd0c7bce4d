import {
  type AgentName,
  canonicalJson,
  type DeviceId,
  type Hash,
  isHash,
  type Json,
  parseBranchName,
  parseCanonicalJson,
} from "@vlinder/protocol";
import { type Device, isPublicKey, isSignature, isSignedBy, type PublicKey } from "../vault/device.ts";
import type { VaultId } from "../vault/vault.ts";
import type { CopiedBranch } from "./database-copy.ts";
import { fileForm } from "../file-form.ts";
import { copyName, type DatabaseName, isDatabaseName } from "./names.ts";

const { bad, fields } = fileForm("manifest of a copy");

export interface CopyFile {
  readonly bytes: number;
  readonly database: DatabaseName;
  /** In the same folder. */
  readonly name: string;
  readonly sha256: Hash;
}

export interface Manifest {
  readonly agent: AgentName;
  /** Live ones and their heads, as they are in the copy. */
  readonly branches: readonly CopiedBranch[];
  readonly device: DeviceId;
  readonly files: readonly CopyFile[];
  readonly key: PublicKey;
  /** When it was made, ISO 8601. */
  readonly time: string;
  readonly vault: VaultId;
}

/** A manifest larger than this is refused. */
export const MANIFEST_BYTES = 16 << 20;

const ABOUT =
  "A copy of an agent's SQLite files, made by vlinder for people: download one and open it with sqlite3. " +
  "Machines do not read it: they sync by packs. docs/formats.md of vlinder says what is in which table.";
/** Before what is signed, so that no signature made for another purpose can pass for a copy's. */
const DOMAIN = "vlinder database copy 1\n";

/** The file that makes a copy whole: written last, and what it names is there. */
export function encodeManifest(copy: Omit<Manifest, "device" | "key">, device: Device): Buffer {
  const { agent, branches, files, time, vault } = copy;
  const body: Json = {
    about: ABOUT,
    agent,
    branches: branches.map((branch) => ({ ...branch })),
    device: device.id,
    files: files.map((file) => ({ ...file })),
    key: device.key,
    time,
    v: 1,
    vault,
  };
  const signature = device.sign(DOMAIN + canonicalJson(body));
  return Buffer.from(canonicalJson({ ...body, signature }), "utf8");
}

/** What the place says where a manifest was found: it must say the same itself. */
export interface ManifestPlace {
  readonly agent: AgentName;
  readonly device: DeviceId;
  /** As in its name. */
  readonly time: string;
  readonly isSealed: boolean;
  readonly vault: VaultId;
}

const FIELDS = "about,agent,branches,device,files,key,signature,time,v,vault";

/**
 * Reads a manifest, of which nothing is believed: form, place, names, and the signature by the key that it names. Whether that key is the
 * device's is for others to say. @throws invalid
 */
export function decodeManifest(bytes: Buffer, place: ManifestPlace): Manifest {
  const all = fields(parseCanonicalJson(bytes, "manifest"), FIELDS, "file");
  const { signature, ...body } = all;
  const { agent, device, key, time, v, vault } = body;
  if (v !== 1) throw bad(`its version is ${JSON.stringify(v)}`);
  if (!isPublicKey(key) || !isSignature(signature)) throw bad("it is not signed");
  if (!isSignedBy(key, DOMAIN + canonicalJson(body as Json), signature)) throw bad("its signature is wrong");
  if (agent !== place.agent || device !== place.device || vault !== place.vault) {
    throw bad("it is of another agent, device or vault");
  }
  if (typeof time !== "string" || copyTime(time) !== place.time) throw bad("its time is not that of its name");
  return {
    agent: place.agent,
    branches: listOf(body["branches"], 0, 1_000_000).map(branchOf),
    device: place.device,
    files: filesOf(body["files"], new Date(time), place.isSealed),
    key,
    time,
    vault: place.vault,
  };
}

function copyTime(time: string): string | null {
  return Number.isNaN(Date.parse(time)) || new Date(time).toISOString() !== time ? null : time;
}

function filesOf(value: unknown, time: Date, isSealed: boolean): CopyFile[] {
  const files = listOf(value, 1, 2).map((one): CopyFile => {
    const { bytes, database, name, sha256 } = fields(one, "bytes,database,name,sha256", "database");
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 1) throw bad("the size of a file is none");
    if (!isHash(sha256)) throw bad("the hash of a file is none");
    if (!isDatabaseName(database)) throw bad("it has a file that is no database");
    if (name !== copyName(database, time, sha256, isSealed)) throw bad("the name of a file is not that of its copy");
    return { bytes: bytes as number, database, name, sha256 };
  });
  if (new Set(files.map(({ database }) => database)).size !== files.length) throw bad("it has a database twice");
  return files;
}

function branchOf(value: unknown): CopiedBranch {
  const { head, id, name } = fields(value, "head,id,name", "branch");
  if (!isHash(head) || !isHash(id)) throw bad("a branch has no head or id");
  return { head, id, name: parseBranchName(name) };
}

function listOf(value: unknown, least: number, most: number): unknown[] {
  if (Array.isArray(value) && value.length >= least && value.length <= most) return value;
  throw bad("a list in it is none, or too long");
}
