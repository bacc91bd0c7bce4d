import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type AgentName, isNewerFormat, parseAgentName, VlinderError } from "@vlinder/protocol";
import { z } from "zod";
import { refuseNewer } from "../file-version.ts";
import { writeFileAtomic } from "./atomic-file.ts";

/**
 * What is known of an agent in this home: `agents/<name>/registration.json`. It is written when
 * all that it speaks of is in place, so that a crash before that leaves nothing registered, and
 * registering again finishes the work.
 */
export interface Registration {
  readonly name: AgentName;
  /** The folder of agent.toml, real; null for one that came by clone. */
  readonly source: string | null;
  /** agent.toml as it was registered; null for one that came by clone. */
  readonly manifest: string | null;
  /** Canonical storage URIs (`ResolvedUri.uri`). */
  readonly objects: string;
  readonly vectors: string | null;
  /** ISO 8601. */
  readonly registeredAt: string;
  /** Set: removed, and a pull must not bring it back. */
  readonly removedAt: string | null;
  /** Removed with its data: whatever else is in the folder is to be deleted. */
  readonly purged: boolean;
}

const VERSION = 1;

const schema = z.strictObject({
  v: z.literal(VERSION),
  name: z.string(),
  source: z.string().nullable(),
  manifest: z.string().nullable(),
  objects: z.string().min(1),
  vectors: z.string().min(1).nullable(),
  registeredAt: z.iso.datetime(),
  removedAt: z.iso.datetime().nullable(),
  purged: z.boolean(),
});

export function isRemoved(registration: Registration | null): boolean {
  return registration !== null && registration.removedAt !== null;
}

export function registrationFile(folder: string): string {
  return join(folder, "registration.json");
}

/** Null when there is none. @throws invalid: damaged, of a newer version, or of another agent */
export async function readRegistration(folder: string, name: AgentName): Promise<Registration | null> {
  const path = registrationFile(folder);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw damaged(path, name, error);
  }
  let record: z.output<typeof schema>;
  try {
    const contents = JSON.parse(text) as { readonly v?: unknown } | null;
    refuseNewer(path, contents?.v, VERSION);
    record = schema.parse(contents);
    if (parseAgentName(record.name) !== name) throw new Error(`it is of agent "${record.name}"`);
  } catch (cause) {
    if (isNewerFormat(cause)) throw cause;
    throw damaged(path, name, cause);
  }
  const { v: _version, ...rest } = record;
  return { ...rest, name };
}

/** Durable when it resolves; the old record or the new one is there at any time. */
export async function writeRegistration(folder: string, registration: Registration): Promise<void> {
  const path = registrationFile(folder);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomic(path, `${JSON.stringify({ v: VERSION, ...registration }, null, 2)}\n`);
}

function damaged(path: string, name: AgentName, cause: unknown): VlinderError {
  return new VlinderError("invalid", `${path} is damaged`, {
    remedy: `\`vlinder agent add DIR\` with the folder of "${name}" writes it anew and takes up the data`,
    details: { path },
    cause,
  });
}
