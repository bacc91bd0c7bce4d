import type { KeyPair } from "@nats-io/nkeys";
import path from "node:path";
import { VlinderError } from "@vlinder/protocol";
import { newAccount, newOperator, pairFromSeed } from "./key-pair.ts";
import { makePrivateFolder, readTextFile, writePrivateFile } from "./private-file.ts";
import type { Role } from "./permissions.ts";

/** The keys that everything is signed with. Whoever has them can be anybody on this server. */
export interface Keys {
  readonly operator: KeyPair;
  /** Of the system account, in which the server takes changes of accounts. */
  readonly system: KeyPair;
  /** Of the account in which all of vlinder lives. */
  readonly account: KeyPair;
  /** One signing key of the account for each role: its permissions are those of the users it signs. */
  readonly roles: Readonly<Record<Role, KeyPair>>;
}

/** Reads the keys from `folder`, one seed a file; those that are missing are made. */
export async function loadKeys(folder: string): Promise<Keys> {
  await makePrivateFolder(folder);
  const load = (name: string, create: () => KeyPair) => loadKey(path.join(folder, `${name}.nk`), create);
  return {
    operator: await load("operator", newOperator),
    system: await load("system", newAccount),
    account: await load("account", newAccount),
    roles: {
      admin: await load("role-admin", newAccount),
      agent: await load("role-agent", newAccount),
      daemon: await load("role-daemon", newAccount),
    },
  };
}

async function loadKey(file: string, create: () => KeyPair): Promise<KeyPair> {
  const seed = await readTextFile(file);
  if (seed === null) {
    const made = create();
    await writePrivateFile(file, made.getSeed());
    return made;
  }
  try {
    return pairFromSeed(seed.trim());
  } catch (cause) {
    throw new VlinderError("internal", `${file} is not a NATS key`, {
      cause,
      remedy: `restore ${path.dirname(file)} from a backup, or delete it: all credentials are then made anew`,
    });
  }
}
