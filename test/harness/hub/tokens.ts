import { createHmac, randomBytes } from "node:crypto";
import { Refusal } from "./refusal.ts";

export interface HubUser {
  /** Owner of buckets. */
  readonly name: string;
  readonly role: "read" | "write";
}

export type XetScope = "read" | "write";

/** Tokens of people for the Hub, and the short-lived ones that the Hub gives for the CAS. */
export class Tokens {
  /** `hf_…` → whose. A test may add and remove some at any time. */
  readonly people = new Map<string, HubUser>();
  /** Seconds that a Xet token lives. */
  life: number;
  readonly #secret = randomBytes(32);
  #notBefore = 0;
  #issued = 0;

  constructor(life: number) {
    this.life = life;
  }

  /** Who asks the Hub. @throws Refusal 401 */
  user(authorization: string | undefined): HubUser {
    const token = /^Bearer (hf_[A-Za-z0-9]+)$/.exec(authorization ?? "")?.[1];
    const user = token === undefined ? undefined : this.people.get(token);
    if (user === undefined) throw new Refusal(401, "Invalid credentials in Authorization header");
    return user;
  }

  issue(scope: XetScope, bucket: string): { readonly accessToken: string; readonly exp: number } {
    const exp = Math.floor(Date.now() / 1000) + this.life;
    const claims = Buffer.from(JSON.stringify({ n: ++this.#issued, scope, bucket, exp })).toString("base64url");
    return { accessToken: `xet.${claims}.${this.sign(claims)}`, exp };
  }

  /** All Xet tokens so far count as expired. */
  expireAll(): void {
    this.#notBefore = this.#issued;
  }

  /** The bucket of a token that may do this. @throws Refusal 401, 403 */
  xet(authorization: string | undefined, scope: XetScope): string {
    const [, claims, signature] = /^Bearer xet\.([\w-]+)\.([\w-]+)$/.exec(authorization ?? "") ?? [];
    if (claims === undefined || signature !== this.sign(claims)) throw new Refusal(401, "not a token of this CAS");
    const read = JSON.parse(Buffer.from(claims, "base64url").toString()) as {
      readonly n: number;
      readonly scope: XetScope;
      readonly bucket: string;
      readonly exp: number;
    };
    if (read.exp * 1000 <= Date.now() || read.n <= this.#notBefore) throw new Refusal(401, "the token has expired");
    if (scope === "write" && read.scope !== "write") throw new Refusal(403, "the token may only read");
    return read.bucket;
  }

  sign(text: string): string {
    return createHmac("sha256", this.#secret).update(text).digest("base64url");
  }
}
