import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  canonicalJson,
  type DeviceId,
  invalid,
  parseCanonicalJson,
  parseDeviceId,
  VlinderError,
} from "@vlinder/protocol";
import { refuseNewer } from "../../file-version.ts";
import { readHomeFile, writeHomeFile } from "../home-file.ts";

/** An Ed25519 public key, 32 bytes as 64 hex digits. */
export type PublicKey = string & { readonly __brand: "PublicKey" };
/** An Ed25519 signature, 64 bytes as 128 hex digits. */
export type Signature = string & { readonly __brand: "Signature" };

export interface Device {
  readonly id: DeviceId;
  readonly key: PublicKey;
  sign(text: string): Signature;
  /** 32 bytes that only this key's owner can know, others for each purpose. A secret. */
  derive(purpose: string): Buffer;
}

const PRIVATE_DER = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_DER = Buffer.from("302a300506032b6570032100", "hex");

export function isPublicKey(text: unknown): text is PublicKey {
  return typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
}

export function isSignature(text: unknown): text is Signature {
  return typeof text === "string" && /^[0-9a-f]{128}$/.test(text);
}

/** The device of a 32-byte seed, as RFC 8032 has it. */
export function deviceFromSeed(id: DeviceId, seed: Uint8Array): Device {
  const secret = createPrivateKey({ key: Buffer.concat([PRIVATE_DER, seed]), format: "der", type: "pkcs8" });
  return {
    id,
    key: publicKeyOf(secret),
    sign: (text) => sign(null, Buffer.from(text, "utf8"), secret).toString("hex") as Signature,
    derive: (purpose) => derive(seed, purpose),
  };
}

/** 32 bytes from a secret, others for each purpose: HKDF-SHA256, RFC 5869. */
export function derive(secret: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, new Uint8Array(), `vlinder ${purpose} 1`, 32));
}

function publicKeyOf(secret: KeyObject): PublicKey {
  const der = createPublicKey(secret).export({ format: "der", type: "spki" });
  return der.subarray(PUBLIC_DER.length).toString("hex") as PublicKey;
}

/** Whether the key's owner signed this text. A key that is no point of the curve signed nothing. */
export function isSignedBy(key: PublicKey, text: string, signature: Signature): boolean {
  let parsed: KeyObject;
  try {
    parsed = createPublicKey({
      key: Buffer.concat([PUBLIC_DER, Buffer.from(key, "hex")]),
      format: "der",
      type: "spki",
    });
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
  return verify(null, Buffer.from(text, "utf8"), parsed, Buffer.from(signature, "hex"));
}

/** How many keys of ids that a home had before are kept. */
const FORMER = 4;

/** An id and the seed of its key, as 64 hex digits. */
interface StoredKey {
  readonly device: DeviceId;
  readonly seed: string;
}

const keyFile = (home: string): string => join(home, "sync", "device-key");

/**
 * The key of this device, in `<home>/sync/device-key`, mode 0600: made when there is none. It belongs
 * to one id: a home that takes a new id (it was copied, and two machines had the old one) gets a
 * new key, so that two machines never sign as one.
 */
export async function openDevice(home: string, id: DeviceId): Promise<Device> {
  const stored = await readKeys(home);
  const [current] = stored;
  if (current?.device === id) return deviceOf(current);
  const der = generateKeyPairSync("ed25519").privateKey.export({ format: "der", type: "pkcs8" });
  const fresh = { device: id, seed: der.subarray(PRIVATE_DER.length).toString("hex") };
  const former = stored.slice(0, FORMER).map(({ device, seed }) => ({ device, seed }));
  // Where there is none, the file is as the first release wrote it.
  const text = canonicalJson({ ...fresh, ...(former.length === 0 ? {} : { former }), v: 1 });
  await writeHomeFile(keyFile(home), text, 0o600);
  return deviceOf(fresh);
}

/**
 * Who this home was before it took its id, newest first: an encrypted vault knows the home by these keys, and
 * they vouch for the new one.
 */
export async function formerDevices(home: string): Promise<Device[]> {
  return (await readKeys(home)).slice(1).map(deviceOf);
}

const deviceOf = ({ device, seed }: StoredKey): Device => deviceFromSeed(device, Buffer.from(seed, "hex"));

/** The key of now, then former ones; none where there is no file. */
async function readKeys(home: string): Promise<StoredKey[]> {
  const file = keyFile(home);
  const bytes = await readHomeFile(file);
  if (bytes === null) return [];
  await checkMode(file);
  const value = parseCanonicalJson(bytes, "device key") as Record<string, unknown> | null;
  refuseNewer(file, value?.["v"], 1);
  const former: unknown = value?.["former"] ?? [];
  if (value?.["v"] !== 1 || !Array.isArray(former)) throw notKeys(file);
  return [value, ...(former as unknown[])].map((one) => parseKey(one, file));
}

function parseKey(value: unknown, file: string): StoredKey {
  const { device, seed } = (value ?? {}) as Record<string, unknown>;
  if (typeof seed !== "string" || !/^[0-9a-f]{64}$/.test(seed)) throw notKeys(file);
  return { device: parseDeviceId(device), seed };
}

async function checkMode(file: string): Promise<void> {
  if (process.platform === "win32" || ((await stat(file)).mode & 0o077) === 0) return;
  throw new VlinderError("denied", `others on this machine can read the device's key ${file}`, {
    remedy: `chmod 600 ${file}`,
  });
}

function notKeys(file: string): VlinderError {
  return invalid(`${file} is not a device key`, {
    remedy: "restore it from a backup; or remove it, and the device gets a new key that other machines must be told of",
  });
}
