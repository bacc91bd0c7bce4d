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
import { type Device, isPublicKey, type PublicKey } from "./device.ts";
import { readHomeFile, writeHomeFile } from "../home-file.ts";

/**
 * Whose key signs for which device: trust on first use, said loudly by the caller, and fixed from
 * then on, for all agents of this home. In `<home>/sync/devices.json`.
 */
export class DevicePins {
  readonly #file: string;
  readonly #keys: Map<DeviceId, PublicKey>;
  readonly #distrusted: Set<DeviceId>;
  #self: Device;
  #saved: Promise<void> = Promise.resolve();

  private constructor(file: string, { keys, distrusted }: Pinned, self: Device) {
    this.#file = file;
    this.#keys = keys;
    this.#distrusted = distrusted;
    this.#self = self;
  }

  static async open(home: string, self: Device): Promise<DevicePins> {
    const file = join(home, "sync", "devices.json");
    const bytes = await readHomeFile(file);
    return new DevicePins(
      file,
      bytes === null ? { keys: new Map(), distrusted: new Set() } : parsePins(bytes, file),
      self,
    );
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

  /** Whether the key is the device's, and it is trusted already: nothing is pinned by this. */
  knows(device: DeviceId, key: PublicKey): boolean {
    return !this.#distrusted.has(device) && this.get(device) === key;
  }

  /**
   * Of a head of another machine: the first of a device is trusted, and the note says so. @throws denied: another key than
   * the device's, or a device that was taken out
   */
  async check({ device, key }: { readonly device: DeviceId; readonly key: PublicKey }): Promise<string | null> {
    if (this.#distrusted.has(device)) {
      throw new VlinderError("denied", `device ${device} is not trusted any more`, {
        remedy: "vlinder vault distrust took it out here",
      });
    }
    const pinned = this.get(device);
    if (pinned === key) return null;
    if (pinned === null) {
      await this.pin(device, key);
      return `device ${device} is new: its key ${key.slice(0, 16)} is trusted from now on`;
    }
    throw new VlinderError("denied", `it is signed by another key than that of device ${device}`, {
      remedy: "somebody else may write to the bucket, or the device lost its key: see vlinder vault devices",
    });
  }

  isDistrusted(device: DeviceId): boolean {
    return this.#distrusted.has(device);
  }

  /** Its heads are refused from now on, for ever. Durable when it resolves. */
  async distrust(device: DeviceId): Promise<void> {
    this.#distrusted.add(device);
    await this.#save();
  }

  devices(): DeviceId[] {
    return [...this.#keys.keys()].toSorted();
  }

  #save(): Promise<void> {
    const keys = Object.fromEntries(this.#keys);
    const distrusted = [...this.#distrusted].toSorted();
    // A release that knows only version 1 would trust them again, so it must not read the list.
    const text = canonicalJson(distrusted.length === 0 ? { keys, v: 1 } : { distrusted, keys, v: 2 });
    this.#saved = this.#saved.then(
      () => writeHomeFile(this.#file, text, 0o600),
      () => writeHomeFile(this.#file, text, 0o600),
    );
    return this.#saved;
  }
}

interface Pinned {
  readonly keys: Map<DeviceId, PublicKey>;
  readonly distrusted: Set<DeviceId>;
}

function parsePins(bytes: Buffer, file: string): Pinned {
  const value = parseCanonicalJson(bytes, "list of devices") as Record<string, unknown> | null;
  refuseNewer(file, value?.["v"], 2);
  const { keys, v } = value ?? {};
  const distrusted: unknown = v === 1 ? [] : value?.["distrusted"];
  if ((v !== 1 && v !== 2) || typeof keys !== "object" || keys === null || !Array.isArray(distrusted)) {
    throw invalid(`${file} is not a list of devices`, { remedy: "restore it from a backup" });
  }
  return {
    keys: new Map(
      Object.entries(keys).map(([device, key]): [DeviceId, PublicKey] => {
        if (!isPublicKey(key)) throw invalid(`${file} holds something else than a key for ${device}`);
        return [parseDeviceId(device), key];
      }),
    ),
    distrusted: new Set(distrusted.map(parseDeviceId)),
  };
}
