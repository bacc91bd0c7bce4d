import { z } from "zod";
import { devicePrefixField } from "./fields.ts";

/** A secret. */
export const recoveryKeyField = z.string().min(1).max(256);
export const deviceNameField = z.string().regex(/^[^\p{C}]{1,64}$/u, "must be 1 to 64 characters of text");

/** Requests about who belongs to a vault. */
export const vaultRequests = {
  "vault.devices": z.strictObject({}),
  "vault.request": z.strictObject({ name: deviceNameField.optional() }),
  "vault.add": z.strictObject({ request: z.string().min(1).max(8192) }),
  "vault.distrust": z.strictObject({
    device: devicePrefixField,
    key: recoveryKeyField.optional(),
  }),
  "vault.rotate": z.strictObject({ key: recoveryKeyField.optional() }),
};

export interface VaultDevicesReply {
  /** Null: this home has no vault. */
  readonly vault: string | null;
  /** SHA-256 of vault.json: what tells the vault from one that somebody else put in its place. */
  readonly hash: string | null;
  readonly encrypted: boolean;
  readonly items: readonly {
    readonly device: string;
    /** What people call it; null: unknown, as always in a plain vault. */
    readonly name: string | null;
    /** Its Ed25519 public key, 64 hex digits. */
    readonly key: string;
    readonly self: boolean;
    /** When it was let in; null in a plain vault. */
    readonly since: string | null;
    /** When it wrote the newest of its heads that was seen here. */
    readonly seen: string | null;
    readonly trusted: boolean;
    /** When it was taken out of an encrypted vault. */
    readonly until: string | null;
  }[];
}
export interface VaultRequestReply {
  /** One word, for a member's `vault.add`. No secret, but must not be changed on the way: compare the fingerprint. */
  readonly request: string;
  readonly device: string;
  /** Of the device's key, in groups of four. */
  readonly fingerprint: string;
}
export interface VaultAddReply {
  readonly device: string;
  readonly name: string;
  readonly fingerprint: string;
  /** False: it was a member already. */
  readonly added: boolean;
  readonly bucket: string;
  /** For the new device's `sync.init`, as `vault`. */
  readonly hash: string;
}
export interface VaultDistrustReply {
  readonly device: string;
  /** False: it was taken out before. */
  readonly changed: boolean;
  /** Whether other machines take it out, too: false in a plain vault. */
  readonly everywhere: boolean;
}
export interface VaultRotateReply {
  /** The new recovery key; those before it are void. It is kept nowhere. A secret. */
  readonly recovery: string;
}

export interface VaultReplies {
  "vault.devices": VaultDevicesReply;
  "vault.request": VaultRequestReply;
  "vault.add": VaultAddReply;
  "vault.distrust": VaultDistrustReply;
  "vault.rotate": VaultRotateReply;
}
