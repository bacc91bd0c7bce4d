import {
  type AgentName,
  canonicalJson,
  type Hash,
  invalid,
  type Json,
  parseAgentName,
  parseCanonicalJson,
} from "@vlinder/protocol";
import type { TheirBranch } from "../../state/api.ts";
import { parseBranches } from "../head.ts";
import { MANIFEST_FILE, packFile, README_FILE } from "./names.ts";

/** What an archive is of; docs/formats.md has the form. */
export interface ArchiveManifest {
  readonly agent: AgentName;
  /** As a head in a bucket says them: in the order of their ids. */
  readonly branches: readonly TheirBranch[];
}

const VERSION = 1;

export function encodeArchiveManifest({ agent, branches }: ArchiveManifest): Buffer {
  return Buffer.from(canonicalJson({ agent, branches, v: VERSION } as unknown as Json), "utf8");
}

/** @throws invalid: another form, or one of a newer release */
export function decodeArchiveManifest(bytes: Uint8Array): ArchiveManifest {
  const value = parseCanonicalJson(bytes, "manifest.json") as Record<string, unknown> | null;
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw invalid("manifest.json is no object");
  const { v, agent, branches } = value;
  if (v !== VERSION || Object.keys(value).join() !== "agent,branches,v") {
    throw invalid(`manifest.json has format ${JSON.stringify(v)} or other fields; this release knows ${VERSION}`, {
      remedy: "a newer vlinder may have written the archive: update this one",
      details: { version: v },
    });
  }
  return { agent: parseAgentName(agent), branches: parseBranches(branches) };
}

/** What `sha256sum -c` reads: a line for each other file. */
export function sumsOf(files: {
  readonly readme: Hash;
  readonly manifest: Hash;
  readonly packs: readonly Hash[];
}): Buffer {
  const line = (hash: Hash, name: string): string => `${hash}  ${name}\n`;
  const packs = files.packs.map((pack) => line(pack, packFile(pack)));
  return Buffer.from(
    [line(files.readme, README_FILE), line(files.manifest, MANIFEST_FILE), ...packs].join(""),
    "latin1",
  );
}
