import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
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
import { refuseNewer } from "../file-version.ts";
import { readHomeFile, writeHomeFile } from "./home-file.ts";

/** An Ed25519 public key, 32 bytes as 64 hex digits. */
export type PublicKey = string & { readonly __brand: "PublicKey" };
/** An Ed25519 signature, 64 bytes as 128 hex digits. */
export type Signature = string & { readonly __brand: "Signature" };

export interface Device {
  readonly id: DeviceId;
  readonly key: PublicKey;
  sign(text: string): Signature;
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
  };
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

/**
 * The key of this device, in `<home>/sync/device-key`, mode 0600: made when there is none. It belongs
 * to one id: a home that takes a new id (it was copied, and two machines had the old one) gets a
 * new key, so that two machines never sign as one.
 */
export async function openDevice(home: string, id: DeviceId): Promise<Device> {
  const file = join(home, "sync", "device-key");
  const bytes = await readHomeFile(file);
  if (bytes !== null) {
    await checkMode(file);
    const stored = parseKeyFile(bytes, file);
    if (stored.device === id) return deviceFromSeed(id, stored.seed);
  }
  const der = generateKeyPairSync("ed25519").privateKey.export({ format: "der", type: "pkcs8" });
  const seed = der.subarray(PRIVATE_DER.length);
  await writeHomeFile(file, canonicalJson({ device: id, seed: seed.toString("hex"), v: 1 }), 0o600);
  return deviceFromSeed(id, seed);
}

async function checkMode(file: string): Promise<void> {
  if (process.platform === "win32" || ((await stat(file)).mode & 0o077) === 0) return;
  throw new VlinderError("denied", `others on this machine can read the device's key ${file}`, {
    remedy: `chmod 600 ${file}`,
  });
}

function parseKeyFile(bytes: Buffer, file: string): { device: DeviceId; seed: Buffer } {
  const value = parseCanonicalJson(bytes, "device key") as Record<string, unknown> | null;
  refuseNewer(file, value?.["v"], 1);
  const seed = value?.["seed"];
  if (value?.["v"] !== 1 || typeof seed !== "string" || !/^[0-9a-f]{64}$/.test(seed)) {
    throw invalid(`${file} is not a device key`, {
      remedy:
        "restore it from a backup; or remove it, and the device gets a new key that other machines must be told of",
    });
  }
  return { device: parseDeviceId(value["device"]), seed: Buffer.from(seed, "hex") };
}
