import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { createAccount, createOperator, createUser, fromSeed, type KeyPair, Prefix } from "@nats-io/nkeys";
// The curve's arithmetic is left out of the library's pair below, but not how it writes a key.
import { Codec } from "@nats-io/nkeys/lib/codec.js";
import type { Authenticator } from "nats";

/** Before an Ed25519 seed in PKCS #8, and a public key in SPKI. */
const PRIVATE_DER = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_DER_BYTES = 12;

/**
 * The library's key pair, with the curve from Node: the library's own is JavaScript, which computes the public key each time it
 * is asked for it, and took a quarter of the daemon's start.
 */
function native(pair: KeyPair): KeyPair {
  const { prefix, buf } = Codec.decodeSeed(pair.getSeed());
  const secret = createPrivateKey({ key: Buffer.concat([PRIVATE_DER, buf]), format: "der", type: "pkcs8" });
  const point = createPublicKey(secret).export({ format: "der", type: "spki" }).subarray(PUBLIC_DER_BYTES);
  const publicKey = new TextDecoder().decode(Codec.encode(prefix, point));
  return Object.assign(Object.create(pair) as KeyPair, {
    getPublicKey: () => publicKey,
    getPrivateKey: () => Codec.encode(Prefix.Private, Buffer.concat([buf, point])),
    sign: (input: Uint8Array) => sign(null, input, secret),
  });
}

export const newOperator = (): KeyPair => native(createOperator());
export const newAccount = (): KeyPair => native(createAccount());
export const newUser = (): KeyPair => native(createUser());

/** @throws when the text is no seed */
export const pairFromSeed = (seed: string): KeyPair => native(fromSeed(Buffer.from(seed)));

/** Connects as the user of a JWT. */
export function userAuthenticator(jwt: string, user: KeyPair): Authenticator {
  return (nonce) => ({
    jwt,
    nkey: user.getPublicKey(),
    sig: Buffer.from(user.sign(Buffer.from(nonce ?? ""))).toString("base64url"),
  });
}
