import { webcrypto } from "node:crypto";
import { invalid } from "@vlinder/protocol";
import { type AgeIdentity, ageLibrary, type AgeRecipient, isAgeIdentity } from "./age-file.ts";
import { derive, type Device, deviceFromSeed, type PublicKey, type Signature } from "./device.ts";

/** Who may say who belongs to a vault: a device, or the recovery key. */
export interface Authority {
  readonly key: PublicKey;
  readonly recipient: AgeRecipient;
  /** Opens what is encrypted to `recipient`. */
  readonly identity: AgeIdentity | webcrypto.CryptoKey;
  sign(text: string): Signature;
}

const X25519_DER = Buffer.from("302e020100300506032b656e04220420", "hex");

/** A new secret to encrypt to: it is all that is needed to read, and says nothing of who may write. */
export async function newIdentity(): Promise<AgeIdentity> {
  return (await (await ageLibrary()).generateX25519Identity()) as AgeIdentity;
}

export async function recipientOf(identity: AgeIdentity | webcrypto.CryptoKey): Promise<AgeRecipient> {
  return (await (await ageLibrary()).identityToRecipient(identity)) as AgeRecipient;
}

/**
 * The recovery key from what a person kept. It is an age identity, so that the `age` program alone can open a
 * vault; the key that it signs with is derived from it. @throws invalid, without saying what was given
 */
export async function parseRecovery(text: string): Promise<Authority> {
  const identity = text.trim().toUpperCase();
  const wrong = "that is no recovery key: it is one line, AGE-SECRET-KEY-1…";
  if (!isAgeIdentity(identity)) throw invalid(wrong, { remedy: "give the key as vlinder init --encrypt printed it" });
  let recipient: AgeRecipient;
  try {
    recipient = await recipientOf(identity);
  } catch {
    // Without its cause, which may quote the key.
    throw invalid(`${wrong}, and a letter of this one is wrong`, { remedy: "compare it letter by letter" });
  }
  const device = deviceFromSeed(NOBODY, derive(Buffer.from(identity), "recovery signing key"));
  return { key: device.key, recipient, identity, sign: (line) => device.sign(line) };
}

const NOBODY = "00".repeat(16) as Device["id"];

/** A device as one that is encrypted to: its age key is derived from the seed that it signs with. */
export async function deviceAuthority(device: Device): Promise<Authority> {
  const scalar = device.derive("device age key");
  const identity = await webcrypto.subtle.importKey(
    "pkcs8",
    Buffer.concat([X25519_DER, scalar]),
    { name: "X25519" },
    false,
    ["deriveBits"],
  );
  return { key: device.key, recipient: await recipientOf(identity), identity, sign: (text) => device.sign(text) };
}

/** 32 hex digits in groups of four: what two people compare. */
export function fingerprint(key: string): string {
  return (key.slice(0, 32).match(/.{4}/g) ?? []).join(" ");
}
