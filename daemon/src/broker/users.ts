import { z } from "zod";
import { VlinderError } from "@vlinder/protocol";
import { readTextFile, writePrivateFile } from "./private-file.ts";

const schema = z.strictObject({
  /** Public keys of the users that were minted under a name, and may still connect. */
  issued: z.record(z.string(), z.array(z.string())),
  /** Public key → when it was revoked, in seconds since 1970. */
  revoked: z.record(z.string(), z.number()),
});
type Content = z.infer<typeof schema>;

/** Which users there are and which are no longer to be let in: `$VLINDER_HOME/nats/users.json`. */
export class Users {
  readonly #file: string;
  #content: Content;

  private constructor(file: string, content: Content) {
    this.#file = file;
    this.#content = content;
  }

  static async load(file: string): Promise<Users> {
    const text = await readTextFile(file);
    if (text === null) return new Users(file, { issued: {}, revoked: {} });
    try {
      return new Users(file, schema.parse(JSON.parse(text)));
    } catch (cause) {
      throw new VlinderError("internal", `${file} is damaged`, {
        cause,
        remedy:
          "restore it from a backup, or delete it together with the folder keys beside it: all credentials are then made anew",
      });
    }
  }

  get revoked(): Readonly<Record<string, number>> {
    return this.#content.revoked;
  }

  isIssued(name: string, publicKey: string): boolean {
    return this.#content.issued[name]?.includes(publicKey) ?? false;
  }

  /** Durable when it returns; so a credential that anybody has can always be revoked. */
  async issue(name: string, publicKey: string): Promise<void> {
    const issued = { ...this.#content.issued, [name]: [...(this.#content.issued[name] ?? []), publicKey] };
    await this.#save({ ...this.#content, issued });
  }

  /** Revokes all users of a name; false when there were none. Durable when it returns. */
  async revoke(name: string): Promise<boolean> {
    const { [name]: keys = [], ...issued } = this.#content.issued;
    if (keys.length === 0) return false;
    const now = Math.floor(Date.now() / 1000);
    const revoked = { ...this.#content.revoked, ...Object.fromEntries(keys.map((key) => [key, now])) };
    await this.#save({ issued, revoked });
    return true;
  }

  async #save(content: Content): Promise<void> {
    await writePrivateFile(this.#file, `${JSON.stringify(content, null, 2)}\n`);
    this.#content = content;
  }
}
