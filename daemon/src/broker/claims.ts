import { type Account, encodeAccount, encodeOperator, encodeUser, type SigningKey } from "@nats-io/jwt";
import type { KeyPair } from "@nats-io/nkeys";
import type { Keys } from "./keys.ts";
import type { Permissions, Role, Roles } from "./permissions.ts";

/*
 * The JWTs of NATS's operator mode: the operator vouches for accounts, an account's signing keys for
 * users, and the server knows the operator. https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
 */

const UNLIMITED = { subs: -1, data: -1, payload: -1 };

/** What an account may do; a limit that is left out counts as none allowed. */
const ACCOUNT_LIMITS = {
  ...UNLIMITED,
  conn: -1,
  leaf: 0,
  imports: 0,
  exports: 0,
  wildcards: true,
  disallow_bearer: true,
};

/** The system account has the exports that the server gives it by itself. */
const SYSTEM_LIMITS = { ...ACCOUNT_LIMITS, exports: -1, imports: -1 };

export async function operatorClaims(keys: Keys): Promise<string> {
  return encodeOperator("vlinder", keys.operator, { system_account: keys.system.getPublicKey() });
}

export async function systemClaims(keys: Keys): Promise<string> {
  return encodeAccount("SYS", keys.system, { limits: SYSTEM_LIMITS }, { signer: keys.operator });
}

/** The account of all of vlinder's users: the permissions of each role, and who is revoked. */
export async function accountClaims(
  keys: Keys,
  roles: Roles,
  revoked: Readonly<Record<string, number>>,
): Promise<string> {
  const account: Partial<Account> = {
    limits: ACCOUNT_LIMITS,
    signing_keys: (Object.keys(roles) as Role[]).map((role) => scope(role, keys.roles[role], roles[role])),
    revocations: { ...revoked },
  };
  return encodeAccount("VLINDER", keys.account, account, { signer: keys.operator });
}

/** Not `newScopedSigner`: its template has an empty `resp`, which a server takes for "one answer, anywhere". */
function scope(role: Role, key: KeyPair, permissions: Permissions): SigningKey {
  const { publish, subscribe } = permissions;
  return {
    kind: "user_scope",
    key: key.getPublicKey(),
    role,
    template: {
      ...UNLIMITED,
      pub: { allow: [...publish.allow], deny: [...publish.deny] },
      sub: { allow: [...subscribe.allow] },
    },
  };
}

export async function userClaims(keys: Keys, role: Role, name: string, user: KeyPair): Promise<string> {
  return encodeUser(name, user, keys.account, {}, { signer: keys.roles[role], scopedUser: true });
}

/** A user of the system account: what tells the server about changed accounts. */
export async function systemUserClaims(keys: Keys, user: KeyPair): Promise<string> {
  return encodeUser("vlinderd-system", user, keys.system, {});
}
