import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import { setImmediate as breathe } from "node:timers/promises";
import { invalid } from "@vlinder/protocol";

/**
 * The payload of an age file (https://age-encryption.org/v1, "Payload"): chunks of 64 KiB, each sealed with
 * ChaCha20-Poly1305 under a counter and a mark of the last one, so that none can be changed, moved, left out or cut off. By
 * OpenSSL, since the library's own takes seconds for a pack, on the daemon's one thread.
 */
const CHUNK = 64 * 1024;
const TAG = 16;
const NONCE = 16;
const CIPHER = "chacha20-poly1305";
/** Chunks between which the daemon answers others: 4 MiB. */
const BREATH = 64;

/** Bytes of the payload for so many of the plaintext. */
export function sealedLength(plain: number): number {
  return NONCE + plain + TAG * Math.max(1, Math.ceil(plain / CHUNK));
}

/** Bytes of the plaintext of such a payload. @throws invalid */
export function plainLength(sealed: number): number {
  const chunks = Math.ceil((sealed - NONCE) / (CHUNK + TAG));
  const plain = sealed - NONCE - chunks * TAG;
  if (plain < 0 || sealedLength(plain) !== sealed) throw invalid("an age file is cut off");
  return plain;
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync("sha256", fileKey, nonce, "payload", 32));
}

/** Eleven bytes of counter, big-endian, and one that is 1 in the last chunk. */
function chunkNonce(counter: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(counter, 7);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** @param nonce 16 random bytes, never used twice with this key */
export async function sealPayload(fileKey: Uint8Array, nonce: Uint8Array, plain: Uint8Array): Promise<Buffer> {
  const key = payloadKey(fileKey, nonce);
  const sealed = Buffer.alloc(sealedLength(plain.length));
  sealed.set(nonce);
  let to = NONCE;
  let counter = 0;
  for (let at = 0; counter === 0 || at < plain.length; at += CHUNK, counter++) {
    if (counter % BREATH === BREATH - 1) await breathe();
    const cipher = createCipheriv(CIPHER, key, chunkNonce(counter, at + CHUNK >= plain.length), { authTagLength: TAG });
    to += cipher.update(plain.subarray(at, at + CHUNK)).copy(sealed, to);
    cipher.final();
    to += cipher.getAuthTag().copy(sealed, to);
  }
  return sealed;
}

/** The plaintext, all of it checked. @throws invalid: any byte changed, or cut off */
export async function openPayload(fileKey: Uint8Array, sealed: Uint8Array): Promise<Buffer> {
  const plain = Buffer.alloc(plainLength(sealed.length));
  const key = payloadKey(fileKey, sealed.subarray(0, NONCE));
  let to = 0;
  let counter = 0;
  for (let at = NONCE; at < sealed.length; at += CHUNK + TAG, counter++) {
    if (counter % BREATH === BREATH - 1) await breathe();
    const chunk = sealed.subarray(at, at + CHUNK + TAG);
    const last = at + CHUNK + TAG >= sealed.length;
    const cipher = createDecipheriv(CIPHER, key, chunkNonce(counter, last), { authTagLength: TAG });
    cipher.setAuthTag(chunk.subarray(chunk.length - TAG));
    to += cipher.update(chunk.subarray(0, chunk.length - TAG)).copy(plain, to);
    try {
      cipher.final();
    } catch (cause) {
      throw invalid("an age file was changed or cut off", { cause });
    }
  }
  return plain;
}
