import { canonicalJson, parseCanonicalJson, VlinderError } from "@vlinder/protocol";
import { type AgeIdentity, type AgeRecipient, isAgeIdentity, openAge, sealAge } from "./age-file.ts";
import { isPublicKey, type PublicKey } from "./device.ts";
import { type Authority, newIdentity, recipientOf } from "./keys.ts";
import type { Membership } from "./membership.ts";
import { encodeStatement, type MemberKeys, type Statement } from "./statement.ts";
import type { Founder, Vault } from "./vault.ts";

/** What a statement holds sealed. */
export interface Keyring {
  /** The vault's keys, all that there ever were: what was written with an old one stays readable. */
  readonly keys: ReadonlyMap<AgeRecipient, AgeIdentity>;
  /** What people call the devices: for members only. */
  readonly names: ReadonlyMap<PublicKey, string>;
}

/** What is to change. Nothing: the vault gets a new key, and all that there are go to all members again. */
export interface Change {
  readonly add?: readonly (MemberKeys & { readonly name: string })[];
  readonly remove?: readonly PublicKey[];
  /** In place of all recovery keys. */
  readonly recovery?: Authority;
}

/** What is sealed in a statement; null when it is not for this one, or is not what the statement says. */
export async function openKeyring({ body }: Statement, self: Authority): Promise<Keyring | null> {
  if (!body.to.includes(self.key)) return null;
  try {
    const plain = await openAge([self.identity], Buffer.from(body.sealed, "base64"));
    const value = plain === null ? null : (parseCanonicalJson(plain, "keyring") as Record<string, unknown> | null);
    const identities: unknown = value?.["keys"];
    if (!Array.isArray(identities)) return null;
    const keys = new Map<AgeRecipient, AgeIdentity>();
    for (const identity of identities.filter(isAgeIdentity)) keys.set(await recipientOf(identity), identity);
    if ([...keys.keys()].toSorted().join() !== body.keys.join()) return null;
    return { keys, names: parseNames(value?.["names"]) };
  } catch (error) {
    if (error instanceof VlinderError && error.code === "invalid") return null;
    throw error;
  }
}

function parseNames(value: unknown): Map<PublicKey, string> {
  const names = Object.entries(value ?? {}).filter(([key, name]) => isPublicKey(key) && typeof name === "string");
  return new Map(names as [PublicKey, string][]);
}

/** A statement by one that belongs to the vault. What takes somebody out brings a new key, which that one never sees. */
export async function stateChange(
  { hash: vault }: Vault,
  membership: Pick<Membership, "members" | "recovery" | "heads" | "keys">,
  keyring: Keyring,
  by: Authority,
  change: Change,
  now: Date,
): Promise<Statement> {
  const { add = [], recovery = null } = change;
  const remove = [...(change.remove ?? []), ...(recovery === null ? [] : membership.recovery.map(({ key }) => key))];
  const to = new Map<PublicKey, Founder>();
  for (const one of [...membership.members.values(), ...membership.recovery, ...add]) to.set(one.key, one);
  for (const key of remove) to.delete(key);
  if (recovery !== null) to.set(recovery.key, recovery);
  const keys = new Map(keyring.keys);
  if (remove.length > 0 || add.length === 0 || keys.size === 0) {
    const fresh = await newIdentity();
    keys.set(await recipientOf(fresh), fresh);
  }
  const recipients = [...keys.keys()].toSorted();
  const names = {
    ...Object.fromEntries(keyring.names),
    ...Object.fromEntries(add.map(({ key, name }) => [key, name])),
  };
  const plain = canonicalJson({ keys: recipients.map((one) => keys.get(one) as AgeIdentity), names });
  const sealed = await sealAge(
    [...to.values()].map(({ recipient }) => recipient),
    Buffer.from(plain, "utf8"),
  );
  return encodeStatement(
    {
      add: add
        .map(({ device, key, recipient }) => ({ device, key, recipient }))
        .toSorted((a, b) => (a.key < b.key ? -1 : 1)),
      after: membership.heads,
      by: by.key,
      keys: recipients,
      recovery: recovery === null ? null : { key: recovery.key, recipient: recovery.recipient },
      remove: [...new Set(remove)].toSorted(),
      sealed: sealed.toString("base64"),
      time: now.toISOString(),
      to: [...to.keys()].toSorted(),
      vault,
    },
    by,
    recovery,
  );
}
