import { fmtCreds, parseCreds } from "@nats-io/jwt";
import { chmod } from "node:fs/promises";
import type { Logger } from "pino";
import { userClaims } from "./claims.ts";
import { newUser } from "./key-pair.ts";
import type { Keys } from "./keys.ts";
import type { Role } from "./permissions.ts";
import { readTextFile, writePrivateFile } from "./private-file.ts";
import type { Users } from "./users.ts";

/** Makes the files with which people and agents connect: a user's JWT and its private key. */
export class Credentials {
  readonly #keys: Keys;
  readonly #users: Users;
  readonly #log: Logger;

  constructor(keys: Keys, users: Users, log: Logger) {
    this.#keys = keys;
    this.#users = users;
    this.#log = log;
  }

  /** Sees to it that `file` lets `name` in; a file that does already is kept. */
  async ensure(role: Role, name: string, file: string): Promise<void> {
    const text = await readTextFile(file);
    if (text !== null) {
      if (await this.#works(text, role, name)) return chmod(file, 0o600);
      this.#log.warn({ file }, "these credentials are not, or no longer, valid here: new ones are made");
    }
    const user = newUser();
    await this.#users.issue(name, user.getPublicKey());
    await writePrivateFile(file, fmtCreds(await userClaims(this.#keys, role, name, user), user));
  }

  async #works(text: string, role: Role, name: string): Promise<boolean> {
    try {
      const { aid, uc } = await parseCreds(Buffer.from(text));
      const ours = aid === this.#keys.account.getPublicKey() && uc.iss === this.#keys.roles[role].getPublicKey();
      return ours && uc.name === name && this.#users.isIssued(name, uc.sub);
    } catch {
      return false; // not a credentials file: the caller says so in the log
    }
  }
}
