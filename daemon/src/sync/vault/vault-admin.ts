import { hostname } from "node:os";
import {
  type DeviceId,
  invalid,
  type VaultAddReply,
  type VaultDevicesReply,
  type VaultDistrustReply,
  VlinderError,
  type VaultRequestReply,
  type VaultRotateReply,
} from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import { deviceAuthority, fingerprint, newIdentity, parseRecovery } from "./keys.ts";
import { type Authority } from "./keys.ts";
import { wrongRecovery } from "./refusals.ts";
import { decodeRequest, encodeRequest } from "./request.ts";
import { pinnedVault, checkVault, type Vault } from "./vault.ts";
import type { MemberSession, VaultDoor } from "./vault-door.ts";

export interface VaultAdminOptions {
  readonly door: VaultDoor;
  /** The bucket in use. @throws unavailable: there is none */
  readonly bucket: () => Promise<Bucket>;
  /** When each device's newest head was written, ISO 8601. */
  readonly seen: () => Promise<ReadonlyMap<DeviceId, string>>;
}

/** Who can read and who can write: what a person asks for and changes. */
export class VaultAdmin {
  readonly #options: VaultAdminOptions;

  constructor(options: VaultAdminOptions) {
    this.#options = options;
  }

  /** As this home knows them: the bucket is not asked. */
  async devices(): Promise<VaultDevicesReply> {
    const { door } = this.#options;
    const vault = await pinnedVault(door.options.home);
    const seen = await this.#options.seen();
    const self = door.options.device();
    const items = vault?.founder ? await this.#members(vault) : this.#pinned();
    return {
      vault: vault?.id ?? null,
      hash: vault?.hash ?? null,
      encrypted: vault?.founder != null,
      items: items
        .map((one) => ({
          ...one,
          self: one.device === self.id && one.key === self.key,
          seen: seen.get(one.device as DeviceId) ?? null,
        }))
        .toSorted((a, b) => Number(b.self) - Number(a.self) || (a.device < b.device ? -1 : 1)),
    };
  }

  #pinned(): DeviceItem[] {
    const { pins } = this.#options.door.options;
    return pins.devices().map((device) => ({
      device,
      name: null,
      key: pins.get(device) ?? "",
      since: null,
      trusted: !pins.isDistrusted(device),
      until: null,
    }));
  }

  async #members(vault: Vault): Promise<DeviceItem[]> {
    const { door } = this.#options;
    const encrypted = await door.encrypted(vault);
    const { names } = await encrypted.keyring(await deviceAuthority(door.options.device()));
    const { members, removed } = encrypted.membership;
    const item = ({
      device,
      key,
      since,
    }: {
      device: DeviceId;
      key: string;
      since: string;
    }): Omit<DeviceItem, "trusted" | "until"> => ({
      device,
      key,
      since,
      name: names.get(key as never) ?? null,
    });
    return [
      ...[...members.values()].map((one) => ({ ...item(one), trusted: true, until: null })),
      ...[...removed.values()].map((one) => ({ ...item(one), trusted: false, until: one.until })),
    ];
  }

  /** What this device says of itself to a member that is to let it in. Needs no bucket. */
  async request(name = hostname()): Promise<VaultRequestReply> {
    const device = this.#options.door.options.device();
    const self = await deviceAuthority(device);
    return {
      request: encodeRequest(device.id, name.slice(0, 64), self),
      device: device.id,
      fingerprint: fingerprint(self.key),
    };
  }

  /** Lets a device in. @throws invalid: no request, or a plain vault; denied: this device is no member */
  async add(request: string): Promise<VaultAddReply> {
    const joining = decodeRequest(request);
    const { encrypted, bucket, self } = await this.#session();
    const { members, removed } = encrypted.membership;
    if (removed.has(joining.key)) {
      throw new VlinderError("denied", `device ${joining.device} was taken out of the vault, and that key stays out`, {
        remedy: "remove sync/device-key in its home and make a new request there",
        details: { device: joining.device },
      });
    }
    const { now, retries } = this.#options.door.options;
    const added = !members.has(joining.key);
    if (added) await encrypted.change(bucket, retries, self, { add: [joining] }, now());
    return {
      device: joining.device,
      name: joining.name,
      fingerprint: fingerprint(joining.key),
      added,
      bucket: bucket.uri,
      hash: encrypted.vault.hash,
    };
  }

  /**
   * Takes a device out. In an encrypted vault by a signed statement, for all machines, and the vault gets a new key that
   * the device never sees; in a plain one for this home. @throws not_found: no such device; conflict: it is this one
   */
  async distrust(text: string, recovery?: string): Promise<VaultDistrustReply> {
    const { door } = this.#options;
    const vault = await pinnedVault(door.options.home);
    const session = vault?.founder ? await this.#session(recovery) : null;
    const { items } = await this.devices();
    const found = items.filter(({ device }) => device.startsWith(text));
    const ids = [...new Set(found.map(({ device }) => device as DeviceId))];
    const [device] = ids;
    if (device === undefined || ids.length > 1) {
      throw new VlinderError("not_found", `${ids.length} devices of the vault begin with ${text}`, {
        remedy: "see vlinder vault devices",
        details: { device: text },
      });
    }
    if (found.some(({ self }) => self)) {
      throw new VlinderError("conflict", "this is the device itself", {
        remedy: "take it out from another machine",
        details: { device },
      });
    }
    const keys = found.filter(({ trusted }) => trusted).map(({ key }) => key as Authority["key"]);
    if (session === null) await door.options.pins.distrust(device);
    else if (keys.length > 0) {
      const { now, retries } = door.options;
      await session.encrypted.change(session.bucket, retries, session.by, { remove: keys }, now());
    }
    return { device, changed: keys.length > 0, everywhere: session !== null };
  }

  /** New keys: one for the vault, and a recovery key in place of the one there was. */
  async rotate(recovery?: string): Promise<VaultRotateReply> {
    const { encrypted, bucket, by } = await this.#session(recovery);
    const { now, retries } = this.#options.door.options;
    const identity = await newIdentity();
    await encrypted.change(bucket, retries, by, { recovery: await parseRecovery(identity) }, now());
    return { recovery: identity };
  }

  /** `by`: who signs, the recovery key where it is given. */
  async #session(recovery?: string): Promise<MemberSession & { readonly by: Authority }> {
    const { door } = this.#options;
    const bucket = await this.#options.bucket();
    const vault = await checkVault(bucket, door.options.home);
    if (vault.founder === null) {
      throw invalid("the vault is a plain one: each machine that can write to the bucket is trusted at its first use", {
        remedy: "vlinder init URI --encrypt makes an encrypted one, in an empty bucket or folder",
      });
    }
    const session = await door.member(bucket, vault);
    if (recovery === undefined) return { ...session, by: session.self };
    const by = await parseRecovery(recovery);
    if (!session.encrypted.membership.recovery.some(({ key }) => key === by.key)) throw wrongRecovery(bucket.uri);
    return { ...session, by };
  }
}

type DeviceItem = Omit<VaultDevicesReply["items"][number], "self" | "seen">;
