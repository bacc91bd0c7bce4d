import { randomBytes, type webcrypto } from "node:crypto";
import type { Recipient } from "age-encryption";
import { invalid } from "@vlinder/protocol";
import { NONCE, openPayload, sealPayload, TAG } from "./age-stream.ts";

/** Who can be encrypted to: an age recipient of X25519, `age1…`. */
export type AgeRecipient = string & { readonly __brand: "AgeRecipient" };
/** What opens what was encrypted to its recipient: `AGE-SECRET-KEY-1…`. A secret. */
export type AgeIdentity = string & { readonly __brand: "AgeIdentity" };

/** Recipients of one file. Its header has a part of some 100 bytes for each. */
export const AGE_RECIPIENTS = 256;
/** Bytes by which an age file for one recipient is larger than 64 MiB of plaintext, at most. */
export const AGE_OVERHEAD = 32 * 1024;

/** Loaded when something is encrypted: with its curves it has 57 files, which no start waits for. */
export const ageLibrary = async () => await import("age-encryption");
/** More than the header for one recipient has. */
export const AGE_HEAD = 1024;

const FIRST = "age-encryption.org/v1\n";
/** Bytes of a recipient's part in the header, rounded up. */
const STANZA = 160;

export function isAgeRecipient(text: unknown): text is AgeRecipient {
  return typeof text === "string" && /^age1[02-9ac-hj-np-z]{58}$/.test(text);
}

export function isAgeIdentity(text: unknown): text is AgeIdentity {
  return typeof text === "string" && /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/.test(text);
}

/** What an age file begins with, and the key of the payload that follows. The key is a secret. */
export interface AgeStart {
  readonly header: Uint8Array;
  readonly key: Uint8Array;
}

/** An age file (version 1, binary) that any of the recipients can open, also with the `age` program. */
export async function sealAge(recipients: readonly AgeRecipient[], plain: Uint8Array): Promise<Buffer> {
  const { header, key } = await startAge(recipients);
  return Buffer.concat([header, await sealPayload(key, randomBytes(NONCE), plain)]);
}

/** Of a file whose payload is made piece by piece: `sealLargeFile`. */
export async function startAge(recipients: readonly AgeRecipient[]): Promise<AgeStart> {
  const fileKey: Uint8Array[] = [];
  // The library makes the header; a recipient that takes part in it learns the key that the payload is sealed with.
  const listener: Recipient = {
    wrapFileKey: (key) => {
      fileKey.push(Uint8Array.from(key));
      return [];
    },
  };
  const { Encrypter } = await ageLibrary();
  const encrypter = new Encrypter();
  encrypter.addRecipient(listener);
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  const empty = await encrypter.encrypt(new Uint8Array());
  const [key] = fileKey;
  if (key === undefined || recipients.length === 0) throw new Error("an age file needs a recipient");
  return { header: empty.subarray(0, empty.length - NONCE - TAG), key };
}

/**
 * The plaintext of an age file; null when none of the identities can open it. @throws invalid: no age file, changed,
 * cut off, or for more than `most` recipients
 */
export async function openAge(
  identities: readonly (AgeIdentity | webcrypto.CryptoKey)[],
  file: Buffer,
  most = AGE_RECIPIENTS,
): Promise<Buffer | null> {
  const start = await openAgeStart(identities, file, most);
  return start === null ? null : openPayload(start.key, file.subarray(start.header.length));
}

/**
 * The same of its first bytes alone; the payload is opened by `LargeAgeFile`.
 * @param head with the whole header, for which `AGE_HEAD` bytes are enough where there is one recipient
 */
export async function openAgeStart(
  identities: readonly (AgeIdentity | webcrypto.CryptoKey)[],
  head: Buffer,
  most: number,
): Promise<AgeStart | null> {
  const header = head.subarray(0, headerLength(head, most));
  const { Decrypter } = await ageLibrary();
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  try {
    return { header, key: await decrypter.decryptHeader(header) };
  } catch (cause) {
    if (cause instanceof Error && cause.message === "no identity matched any of the file's recipients") return null;
    throw invalid("the header of an age file was changed", { cause });
  }
}

/** Found before anything is made of it: each recipient costs a multiplication on the curve. @throws invalid */
function headerLength(file: Buffer, most: number): number {
  const head = file.subarray(0, (most + 2) * STANZA);
  if (!head.subarray(0, FIRST.length).equals(Buffer.from(FIRST))) throw invalid("not an age file");
  const mac = head.indexOf("\n--- ");
  const end = mac < 0 ? -1 : head.indexOf("\n", mac + 1);
  if (end < 0) throw invalid(`an age file for more than ${most} recipients, or cut off`);
  let stanzas = 0;
  for (let at = head.indexOf("\n-> "); at >= 0 && at < mac; at = head.indexOf("\n-> ", at + 1)) stanzas++;
  if (stanzas > most) throw invalid(`an age file for ${stanzas} recipients where ${most} are allowed`);
  return end + 1;
}
