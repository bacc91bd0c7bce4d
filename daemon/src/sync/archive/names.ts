import { type Hash, isHash } from "@vlinder/protocol";

/** The entries of an archive, in this order: the packs stand between the manifest and the sums. */
export const README_FILE = "README.txt";
export const MANIFEST_FILE = "manifest.json";
export const SUMS_FILE = "SHA256SUMS";

export function packFile(name: Hash): string {
  return `packs/${name}.pack`;
}

/** The pack that an entry of this name is; null when it is none. */
export function packOfFile(file: string): Hash | null {
  const name = /^packs\/([0-9a-f]{64})\.pack$/.exec(file)?.[1];
  return isHash(name) ? name : null;
}

/** In every archive, for whoever finds one and has no vlinder. */
export const README_TEXT = `This is the memory of an AI agent, with its whole history, as vlinder exported it.

  vlinder import THIS.tar        brings it back
  sha256sum -c SHA256SUMS        says whether every file is as it was written

manifest.json  the agent's name and its branches, each with the hash of its newest commit
packs/         the objects: values, commits and what ties them together. A pack is named by its SHA-256. It has a header
               of 16 bytes (VLPACK, version 1, compression: 0 none, 1 Zstandard, encryption 0, three zeros, length of the
               payload as 32 bits little-endian), then the payload: records, one after another, of

                 1 byte          kind: 1 value, 2 chunk, 3 list of chunks, 4 tree node, 5 changes, 6 snapshot, 7 commit
                 32 bytes        of kind 3 only: the hash under which it is stored
                 1 to 8 bytes    length, unsigned LEB128
                 length bytes    the object; its name is its SHA-256

A commit is JSON: parents, time, and changes as [key, SHA-256 of the value or null, size]. What a branch holds is found
by applying the changes from its first commit on, along first parents. docs/formats.md of vlinder has every byte, and
docs/read-archive.py reads an archive with nothing but Python and zstd.
`;
