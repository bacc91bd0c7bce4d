import { createPrivateKey, sign } from "node:crypto";
import { type Authenticator, credsAuthenticator } from "nats";

/** A token, and the seed of the user's key: their lines in a credentials file. */
const TOKEN = /^([\w-]+\.[\w-]+\.[\w-]+)\s*$/m;
const SEED = /^(SU[A-Z2-7]{56})\s*$/m;
/** Before an Ed25519 seed in PKCS #8. */
const PRIVATE_DER = Buffer.from("302e020100300506032b657004220420", "hex");
/** Bytes before the seed, which say what it is, and its own; a checksum follows. */
const PREFIX = 2;
const SEED_BYTES = 32;

/**
 * What the library's `credsAuthenticator` gives, with the curve from Node: the library's own is JavaScript, and computes the key three
 * times for each connection. What is not of the usual form is the library's to judge.
 */
export function authenticatorOf(creds: Uint8Array): Authenticator {
  const text = Buffer.from(creds).toString("utf8");
  const token = TOKEN.exec(text)?.[1];
  const seed = SEED.exec(text)?.[1];
  const user = token === undefined ? null : subjectOf(token);
  if (token === undefined || seed === undefined || user === null) return credsAuthenticator(creds);
  const bytes = fromBase32(seed).subarray(PREFIX, PREFIX + SEED_BYTES);
  const key = createPrivateKey({ key: Buffer.concat([PRIVATE_DER, bytes]), format: "der", type: "pkcs8" });
  return (nonce) => ({
    jwt: token,
    nkey: user,
    sig: sign(null, Buffer.from(nonce ?? ""), key).toString("base64url"),
  });
}

/** The public key that a token is for. */
function subjectOf(token: string): string | null {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8")) as {
      sub?: unknown;
    };
    return typeof claims.sub === "string" ? claims.sub : null;
  } catch {
    return null;
  }
}

/** RFC 4648, without padding. */
function fromBase32(text: string): Buffer {
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const letter of text) {
    value = ((value << 5) | "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter)) & 0xfff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push((value >> bits) & 0xff);
  }
  return Buffer.from(bytes);
}
