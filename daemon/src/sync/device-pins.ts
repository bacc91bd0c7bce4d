import { join } from "node:path";
import { canonicalJson, type DeviceId, invalid, parseCanonicalJson, parseDeviceId } from "@vlinder/protocol";
import { refuseNewer } from "../file-version.ts";
import { type Device, isPublicKey, type PublicKey } from "./device.ts";
import { readHomeFile, writeHomeFile } from "./home-file.ts";

/**
 * Whose key signs for which device: trust on first use, said loudly by the caller, and fixed from
 * then on, for all agents of this home. In `<home>/sync/devices.json`.
 */
export class DevicePins {
  readonly #file: string;
  readonly #keys: Map<DeviceId, PublicKey>;
  #self: Device;
  #saved: Promise<void> = Promise.resolve();

  private constructor(file: string, keys: Map<DeviceId, PublicKey>, self: Device) {
    this.#file = file;
    this.#keys = keys;
    this.#self = self;
  }

  static async open(home: string, self: Device): Promise<DevicePins> {
    const file = join(home, "sync", "devices.json");
    const bytes = await readHomeFile(file);
    return new DevicePins(file, bytes === null ? new Map() : parsePins(bytes, file), self);
  }

  /** Another key than this device's is pinned for its id: it lost its key, and must take a new id to be believed. */
  get lostKey(): boolean {
    const pinned = this.#keys.get(this.#self.id);
    return pinned !== undefined && pinned !== this.#self.key;
  }

  /** Pins the device's own key, under its first or a new id; an old one's key stays pinned. */
  async become(self: Device): Promise<void> {
    this.#self = self;
    this.#keys.set(self.id, self.key);
    await this.#save();
  }

  get(device: DeviceId): PublicKey | null {
    return this.#keys.get(device) ?? null;
  }

  /** Pins a key; durable when it resolves. */
  async pin(device: DeviceId, key: PublicKey): Promise<void> {
    if (this.get(device) !== null) throw new Error(`device ${device} has a pinned key`);
    this.#keys.set(device, key);
    await this.#save();
  }

  devices(): DeviceId[] {
    return [...this.#keys.keys()].toSorted();
  }

  #save(): Promise<void> {
    const text = canonicalJson({ keys: Object.fromEntries(this.#keys), v: 1 });
    this.#saved = this.#saved.then(
      () => writeHomeFile(this.#file, text, 0o600),
      () => writeHomeFile(this.#file, text, 0o600),
    );
    return this.#saved;
  }
}

function parsePins(bytes: Buffer, file: string): Map<DeviceId, PublicKey> {
  const value = parseCanonicalJson(bytes, "list of devices") as Record<string, unknown> | null;
  refuseNewer(file, value?.["v"], 1);
  const keys = value?.["keys"];
  if (value?.["v"] !== 1 || typeof keys !== "object" || keys === null) {
    throw invalid(`${file} is not a list of devices`, { remedy: "restore it from a backup" });
  }
  return new Map(
    Object.entries(keys).map(([device, key]): [DeviceId, PublicKey] => {
      if (!isPublicKey(key)) throw invalid(`${file} holds something else than a key for ${device}`);
      return [parseDeviceId(device), key];
    }),
  );
}
