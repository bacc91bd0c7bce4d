import { canonicalJson, invalid, parseCanonicalJson, sha256, VlinderError } from "@vlinder/protocol";
import { decodeHead, type Head, type HeadName } from "../head.ts";
import {
  type AgeIdentity,
  type AgeRecipient,
  type AgeStart,
  openAge,
  openAgeStart,
  sealAge,
  startAge,
} from "./age-file.ts";
import type { VaultId } from "./vault.ts";

/** Encrypts what goes to an encrypted vault, and opens what comes from it. A plain vault has none. */
export interface Sealer {
  /** An age file. */
  seal(plain: Uint8Array): Promise<Buffer>;
  /** @throws invalid: no age file, changed, cut off; denied: encrypted to another key than the vault's */
  open(sealed: Buffer): Promise<Buffer>;
  /** Of an age file that is too large for memory: its header and the key of the rest. A secret. */
  start(): Promise<AgeStart>;
  /** The same of one that is there, by its first bytes. @throws as `open` */
  startOf(head: Buffer): Promise<AgeStart>;
}

/**
 * @param to null: there is no key that all members have and nobody else; then only reading is possible
 * @param identities the vault's keys, the newest first
 */
export function sealerOf(to: AgeRecipient | null, identities: readonly AgeIdentity[]): Sealer {
  const recipient = (): AgeRecipient => {
    if (to === null) throw new Error("a vault without a usable key was not given a new one before a push");
    return to;
  };
  return {
    seal: async (plain) => sealAge([recipient()], plain),
    open: async (sealed) => (await openAge(identities, sealed, 1)) ?? notForUs(),
    start: async () => startAge([recipient()]),
    startOf: async (head) => (await openAgeStart(identities, head, 1)) ?? notForUs(),
  };
}

function notForUs(): never {
  throw new VlinderError("denied", "it is encrypted to a key that this device does not have", {
    remedy: "it may be of another vault; or a member must push once, which gives the keys to all members again",
  });
}

/** A head or mark as it is stored: in an encrypted vault the whole file, signature and all, is inside an age file. */
export async function sealFile(bytes: Buffer, sealer: Sealer | null): Promise<Buffer> {
  if (sealer === null) return bytes;
  const sealed = (await sealer.seal(bytes)).toString("base64");
  return Buffer.from(canonicalJson({ encryption: "age", sealed, v: 1 }), "utf8");
}

/** What `sealFile` was given. @throws invalid, denied */
export async function openFile(stored: Buffer, sealer: Sealer | null, what: "head" | "mark"): Promise<Buffer> {
  if (sealer === null) return stored;
  const file = parseCanonicalJson(stored, what) as Record<string, unknown> | null;
  const { encryption, sealed, v } = file ?? {};
  if (v !== 1 || encryption !== "age" || typeof sealed !== "string") {
    throw invalid(`not a good ${what}: it is not encrypted, in a vault where all are`, {
      remedy: "somebody else may write to the bucket",
    });
  }
  return await sealer.open(Buffer.from(sealed, "base64"));
}

export async function sealHead(head: Head, sealer: Sealer | null): Promise<Head> {
  const bytes = await sealFile(head.bytes, sealer);
  return { body: head.body, hash: sha256(bytes), bytes };
}

/** A head from its stored bytes; `bytes` of it are those inside. @throws invalid, denied */
export async function openHead(stored: Buffer, name: HeadName, vault: VaultId, sealer: Sealer | null): Promise<Head> {
  if (sealer === null) return decodeHead(stored, name, vault);
  if (sha256(stored) !== name.hash) throw invalid("not a good head: its bytes are not what its name says");
  return reopenHead(await openFile(stored, sealer, "head"), name, vault, sealer);
}

/** The same from the bytes inside, which are kept in the home. @throws invalid */
export function reopenHead(bytes: Buffer, name: HeadName, vault: VaultId, sealer: Sealer | null): Head {
  if (sealer === null) return decodeHead(bytes, name, vault);
  return { ...decodeHead(bytes, { ...name, hash: sha256(bytes) }, vault), hash: name.hash };
}
