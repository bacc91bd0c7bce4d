import { hostname } from "node:os";
import type { Bucket } from "../buckets/bucket.ts";
import type { HeadTrust } from "../found-heads.ts";
import { type Retries, retrying } from "../retry.ts";
import { type Device, formerDevices } from "./device.ts";
import type { DevicePins } from "./device-pins.ts";
import { EncryptedVault } from "./encrypted-vault.ts";
import { type Authority, deviceAuthority } from "./keys.ts";
import { noMember, takenOut } from "./refusals.ts";
import type { Sealer } from "./sealer.ts";
import { checkVault, type Vault } from "./vault.ts";

export interface VaultDoorOptions {
  readonly home: string;
  readonly device: () => Device;
  readonly pins: DevicePins;
  readonly now: () => Date;
  readonly retries: Retries;
  /** What a person should know. */
  readonly say: (note: string) => void;
}

export interface OpenedVault {
  readonly vault: Vault;
  readonly sealer: Sealer | null;
  readonly trust: HeadTrust;
}

/** An encrypted vault with a bucket at hand, and this device as its member. */
export interface MemberSession {
  readonly encrypted: EncryptedVault;
  readonly bucket: Bucket;
  readonly self: Authority;
}

/** Lets this home into its vault: what it reads and writes there goes through what is given here. */
export class VaultDoor {
  readonly options: VaultDoorOptions;
  #encrypted: EncryptedVault | null = null;
  #session: MemberSession | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: VaultDoorOptions) {
    this.options = options;
  }

  /**
   * Before every push and pull. A push also mends: it gives the bucket the statements that it lost, and the vault a
   * key that all members have. A pull only reads: a home that took a new id reads as who it was before. @throws denied: another vault, or this device is no member of it; nothing was changed
   */
  async open(bucket: Bucket, operation: "push" | "pull"): Promise<OpenedVault> {
    const { home, pins, retries } = this.options;
    const vault = await retrying(retries, () => checkVault(bucket, home));
    if (vault.founder === null) return { vault, sealer: null, trust: pins };
    return this.#alone(async () => {
      const { encrypted, self } = await (operation === "push" ? this.#enter(bucket, vault) : this.#look(bucket, vault));
      if (operation === "push") await this.#mend({ encrypted, bucket, self });
      const trust = {
        check: (body: Parameters<HeadTrust["check"]>[0]) => {
          encrypted.check(body);
          return Promise.resolve(null);
        },
        knows: (...one: Parameters<HeadTrust["knows"]>) => encrypted.knows(...one),
      };
      return { vault, sealer: await encrypted.sealer(self), trust };
    });
  }

  /** To change who belongs to the vault. @throws invalid: a plain vault; denied: no member */
  member(bucket: Bucket, vault: Vault): Promise<MemberSession> {
    return this.#alone(async () => {
      const session = await this.#enter(bucket, vault);
      // What could not be written before, when the bucket failed in the middle.
      await session.encrypted.restore(bucket, this.options.retries);
      return session;
    });
  }

  /** The device has a new id: who it was before vouches for it, so that what it writes next is taken by the others. */
  async renewed(): Promise<void> {
    const session = this.#session;
    if (session === null) return;
    await this.#alone(() => this.#enter(session.bucket, session.encrypted.vault));
  }

  /** The vault with what this home knows of its members. */
  async encrypted(vault: Vault): Promise<EncryptedVault> {
    if (this.#encrypted?.vault.hash !== vault.hash) {
      this.#encrypted = await EncryptedVault.open(this.options.home, vault);
    }
    return this.#encrypted;
  }

  /** With what the bucket has, too. */
  async refreshed(bucket: Bucket, vault: Vault): Promise<EncryptedVault> {
    const encrypted = await this.encrypted(vault);
    for (const note of await encrypted.refresh(bucket, this.options.retries)) this.options.say(note);
    return encrypted;
  }

  async #enter(bucket: Bucket, vault: Vault): Promise<MemberSession> {
    const encrypted = await this.refreshed(bucket, vault);
    const self = await deviceAuthority(this.options.device());
    if (!encrypted.isMember(self.key)) await this.#vouch(encrypted, bucket, self);
    this.#session = { encrypted, bucket, self };
    return this.#session;
  }

  /** The vault as it is, read as who this home is or was. */
  async #look(bucket: Bucket, vault: Vault): Promise<{ encrypted: EncryptedVault; self: Authority }> {
    const encrypted = await this.refreshed(bucket, vault);
    const self = await deviceAuthority(this.options.device());
    return { encrypted, self: encrypted.isMember(self.key) ? self : await this.#former(encrypted, bucket, self) };
  }

  async #vouch(encrypted: EncryptedVault, bucket: Bucket, self: Authority): Promise<void> {
    const { now, retries, device } = this.options;
    const before = await this.#former(encrypted, bucket, self);
    const { names } = await encrypted.keyring(before);
    const name = names.get(before.key) ?? hostname();
    const add = [{ device: device().id, key: self.key, recipient: self.recipient, name }];
    await encrypted.change(bucket, retries, before, { add }, now());
  }

  /** The member that this home was before it took its id. @throws denied: none */
  async #former(encrypted: EncryptedVault, bucket: Bucket, self: Authority): Promise<Authority> {
    const removed = encrypted.membership.removed.get(self.key);
    if (removed !== undefined) throw takenOut(removed.until);
    for (const former of await formerDevices(this.options.home)) {
      const before = await deviceAuthority(former);
      if (encrypted.isMember(before.key)) return before;
    }
    throw noMember(bucket.uri);
  }

  async #mend({ encrypted, bucket, self }: MemberSession): Promise<void> {
    const { now, retries, say } = this.options;
    await encrypted.restore(bucket, retries);
    if (encrypted.hasUsableKey) return;
    await encrypted.change(bucket, retries, self, {}, now());
    say("the vault has a new key: machines changed its members at the same time");
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#turn.then(work, work);
    this.#turn = next;
    return next;
  }
}
