import {
  canonicalJson,
  type DeviceId,
  invalid,
  type Json,
  parseCanonicalJson,
  parseDeviceId,
  VlinderError,
} from "@vlinder/protocol";
import { type AgeRecipient, isAgeRecipient } from "./age-file.ts";
import { isPublicKey, isSignature, isSignedBy, type PublicKey } from "./device.ts";
import type { Authority } from "./keys.ts";

/** What a device that wants to belong to a vault says of itself. No secret. */
export interface JoinRequest {
  readonly device: DeviceId;
  readonly key: PublicKey;
  /** What people call it. */
  readonly name: string;
  readonly recipient: AgeRecipient;
}

const DOMAIN = "vlinder request 1\n";
const PREFIX = "vlinder-request-1.";
const MOST = 4096;

/** A request as one word, to be carried to a member by any way on which it can't be changed unseen. */
export function encodeRequest(device: DeviceId, name: string, self: Authority): string {
  const body = { device, key: self.key, name, recipient: self.recipient };
  const signature = self.sign(DOMAIN + canonicalJson(body));
  return PREFIX + Buffer.from(canonicalJson({ body, signature }), "utf8").toString("base64url");
}

/** @throws invalid: no request, or not signed by the key in it */
export function decodeRequest(text: string): JoinRequest {
  const word = text.replaceAll(/\s/g, "");
  const remedy = "give the whole word that vlinder vault request printed on the new machine";
  const bad = (what: string): VlinderError => invalid(`not a good request: ${what}`, { remedy });
  if (!word.startsWith(PREFIX) || word.length > MOST) throw bad(`it begins with ${PREFIX}`);
  let value: Record<string, unknown> | null;
  try {
    const bytes = Buffer.from(word.slice(PREFIX.length), "base64url");
    value = parseCanonicalJson(bytes, "request") as Record<string, unknown> | null;
  } catch (error) {
    if (error instanceof VlinderError) throw bad("it was changed or cut off");
    throw error;
  }
  const { body, signature } = value ?? {};
  if (typeof body !== "object" || body === null || Object.keys(body).join() !== "device,key,name,recipient") {
    throw bad("it has other fields");
  }
  const { device, key, name, recipient } = body as Record<string, unknown>;
  if (!isPublicKey(key) || !isAgeRecipient(recipient) || !isDeviceName(name)) throw bad("it has no good keys or name");
  if (!isSignature(signature) || !isSignedBy(key, DOMAIN + canonicalJson(body as Json), signature)) {
    throw bad("its signature is wrong");
  }
  return { device: parseDeviceId(device), key, name, recipient };
}

/** What is shown on a terminal: no control characters. */
export function isDeviceName(text: unknown): text is string {
  return typeof text === "string" && /^[^\p{C}]{1,64}$/u.test(text);
}
