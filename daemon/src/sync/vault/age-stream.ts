import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import { setImmediate as breathe } from "node:timers/promises";
import { invalid } from "@vlinder/protocol";

/**
 * The payload of an age file (https://age-encryption.org/v1, "Payload"): chunks of 64 KiB, each sealed with
 * ChaCha20-Poly1305 under a counter and a mark of the last one, so that none can be changed, moved, left out or cut off. By
 * OpenSSL, since the library's own takes seconds for a pack, on the daemon's one thread.
 */
export const CHUNK = 64 * 1024;
export const TAG = 16;
export const NONCE = 16;
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

/** A chunk of up to 64 KiB, and its tag. */
function sealChunk(key: Buffer, counter: number, last: boolean, plain: Uint8Array): [Buffer, Buffer] {
  const cipher = createCipheriv(CIPHER, key, chunkNonce(counter, last), { authTagLength: TAG });
  const sealed = cipher.update(plain);
  cipher.final();
  return [sealed, cipher.getAuthTag()];
}

/** @throws invalid */
function openChunk(key: Buffer, counter: number, last: boolean, chunk: Uint8Array): Buffer {
  const cipher = createDecipheriv(CIPHER, key, chunkNonce(counter, last), { authTagLength: TAG });
  cipher.setAuthTag(chunk.subarray(chunk.length - TAG));
  const plain = cipher.update(chunk.subarray(0, chunk.length - TAG));
  try {
    cipher.final();
  } catch (cause) {
    throw invalid("an age file was changed or cut off", { cause });
  }
  return plain;
}

/** @param nonce 16 random bytes, never used twice with this key */
export async function sealPayload(fileKey: Uint8Array, nonce: Uint8Array, plain: Uint8Array): Promise<Buffer> {
  const sealed = Buffer.alloc(sealedLength(plain.length));
  sealed.set(nonce);
  const sealer = new PayloadSealer(fileKey, nonce, plain.length);
  let to = NONCE;
  for (let at = 0; at === 0 || at < plain.length; at += BREATH * CHUNK) {
    if (at > 0) await breathe();
    for (const part of sealer.next(plain.subarray(at, at + BREATH * CHUNK))) to += part.copy(sealed, to);
  }
  return sealed;
}

/** The plaintext, all of it checked. @throws invalid: any byte changed, or cut off */
export async function openPayload(fileKey: Uint8Array, sealed: Uint8Array): Promise<Buffer> {
  const plain = Buffer.alloc(plainLength(sealed.length));
  const opened = new PayloadOpener(fileKey, sealed.subarray(0, NONCE), sealed.length);
  let to = 0;
  for (let at = NONCE; at < sealed.length; at += BREATH * (CHUNK + TAG)) {
    if (at > NONCE) await breathe();
    for (const part of opened.next(sealed.subarray(at, at + BREATH * (CHUNK + TAG)))) to += part.copy(plain, to);
  }
  return plain;
}

/** Encrypts a payload that comes in slices, each of whole chunks but the last. Blocks while it works. */
export class PayloadSealer {
  readonly #key: Buffer;
  readonly #plain: number;
  #counter = 0;
  #done = 0;

  /** @param plain bytes of all of it */
  constructor(fileKey: Uint8Array, nonce: Uint8Array, plain: number) {
    this.#key = payloadKey(fileKey, nonce);
    this.#plain = plain;
  }

  next(slice: Uint8Array): Buffer[] {
    const sealed: Buffer[] = [];
    // Nothing is a chunk, too.
    for (let at = 0; at < slice.length || (at === 0 && this.#plain === 0); at += CHUNK) {
      const chunk = slice.subarray(at, at + CHUNK);
      this.#done += chunk.length;
      sealed.push(...sealChunk(this.#key, this.#counter++, this.#done === this.#plain, chunk));
    }
    return sealed;
  }
}

/** Opens one so; what is given back is checked, and cut off is what does not end with the last slice. */
export class PayloadOpener {
  readonly #key: Buffer;
  readonly #sealed: number;
  #counter = 0;
  #done = NONCE;

  /** @param sealed bytes of all of it, the nonce among them */
  constructor(fileKey: Uint8Array, nonce: Uint8Array, sealed: number) {
    this.#key = payloadKey(fileKey, nonce);
    this.#sealed = sealed;
  }

  /** @throws invalid: any byte changed, moved or missing */
  next(slice: Uint8Array): Buffer[] {
    const plain: Buffer[] = [];
    for (let at = 0; at < slice.length; at += CHUNK + TAG) {
      const chunk = slice.subarray(at, at + CHUNK + TAG);
      this.#done += chunk.length;
      plain.push(openChunk(this.#key, this.#counter++, this.#done === this.#sealed, chunk));
    }
    return plain;
  }
}
