import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Hash, VlinderError } from "@vlinder/protocol";
import type { Bucket } from "../buckets/bucket.ts";
import type { HeadBody } from "../head.ts";
import { readHomeFile, writeHomeFile } from "../home-file.ts";
import { type Retries, retrying } from "../retry.ts";
import type { AgeIdentity, AgeRecipient } from "./age-file.ts";
import type { PublicKey } from "./device.ts";
import { type Change, type Keyring, openKeyring, stateChange } from "./keyring.ts";
import type { Authority } from "./keys.ts";
import { isMember, type Membership, membershipOf } from "./membership.ts";
import { type Sealer, sealerOf } from "./sealer.ts";
import { decodeStatement, type Statement, STATEMENT_BYTES, statementPath } from "./statement.ts";
import type { Founder, Vault } from "./vault.ts";

/** A vault has a statement for each device that came or went; more than these are not taken from a bucket. */
const MOST_STATEMENTS = 2000;
/** Files that a bucket offers and that are looked at in one go. */
const MOST_OFFERED = 500;
const FILE = /^(?:members\/)?([0-9a-f]{64})\.json$/;

const folderOf = (home: string): string => join(home, "sync", "members");

/**
 * The members of an encrypted vault as this home knows them. What it has accepted it keeps in `<home>/sync/members/`:
 * a bucket that hides a statement, or all, takes nothing back here, and gets it again with the next push.
 */
export class EncryptedVault {
  readonly vault: Vault;
  readonly #home: string;
  readonly #founder: Founder;
  readonly #statements: Map<Hash, Statement>;
  readonly #opened = new Map<string, Promise<Keyring | null>>();
  /** Looked at, and nothing that counts. */
  readonly #ignored = new Set<Hash>();
  #membership: Membership;
  #missing: readonly Hash[] = [];

  private constructor(home: string, vault: Vault, founder: Founder, statements: Map<Hash, Statement>) {
    this.vault = vault;
    this.#home = home;
    this.#founder = founder;
    this.#statements = statements;
    this.#membership = membershipOf(founder, statements.values());
  }

  /** With what is kept in the home. */
  static async open(home: string, vault: Vault): Promise<EncryptedVault> {
    if (vault.founder === null) throw new Error("a plain vault has no members");
    const statements = new Map<Hash, Statement>();
    for (const name of await namesIn(folderOf(home))) {
      const hash = FILE.exec(name)?.[1] as Hash | undefined;
      const bytes = hash === undefined ? null : await readHomeFile(join(folderOf(home), name));
      // Also what a vault left behind that this home belonged to before.
      const one = bytes === null ? null : attempt(() => decodeStatement(bytes, hash as Hash, vault.hash));
      if (one !== null) statements.set(one.hash, one);
    }
    return new EncryptedVault(home, vault, vault.founder, statements);
  }

  get membership(): Membership {
    return this.#membership;
  }

  /** Takes in what the bucket has; a sentence for each file that does not count. */
  async refresh(bucket: Bucket, retries: Retries): Promise<string[]> {
    const there = await retrying(retries, () => listStatements(bucket));
    const unknown = there.filter((hash) => !this.#statements.has(hash) && !this.#ignored.has(hash));
    const found = new Map(this.#statements);
    const notes: string[] = [];
    for (const hash of unknown.slice(0, MOST_OFFERED)) {
      const path = statementPath(hash);
      const bytes = await retrying(retries, () => bucket.get(path, { start: 0, end: STATEMENT_BYTES }));
      if (bytes === null) continue;
      try {
        found.set(hash, decodeStatement(bytes, hash, this.vault.hash));
      } catch (error) {
        if (!(error instanceof VlinderError)) throw error;
        this.#ignored.add(hash);
        notes.push(`refused ${path}: ${error.message}`);
      }
    }
    const { accepted, refused, waiting, void: isVoid } = membershipOf(this.#founder, found.values());
    const wanted = stoodOn(accepted, isVoid);
    for (const one of accepted) {
      if (this.#statements.has(one.hash)) continue;
      if (!wanted.has(one.hash)) {
        this.#ignored.add(one.hash);
        notes.push(`refused ${statementPath(one.hash)}: its signer was taken out of the vault`);
      } else if (this.#statements.size < MOST_STATEMENTS) await this.#keep(one);
      else notes.push(`${statementPath(one.hash)} is not taken: the vault has over ${MOST_STATEMENTS} of them`);
    }
    for (const hash of refused) {
      this.#ignored.add(hash);
      notes.push(`refused ${statementPath(hash)}: no member has signed it`);
    }
    for (const hash of waiting) {
      notes.push(`${statementPath(hash)} stands on something that the bucket does not have, or not yet`);
      for (const below of found.get(hash)?.body.after ?? []) this.#ignored.delete(below);
    }
    this.#membership = membershipOf(this.#founder, this.#statements.values());
    this.#missing = [...this.#statements.keys()].filter((hash) => !there.includes(hash));
    return notes;
  }

  /** Gives the bucket what it lacks. */
  async restore(bucket: Bucket, retries: Retries): Promise<void> {
    if (this.#missing.length === 0) return;
    const files = this.#missing.map((hash) => ({
      path: statementPath(hash),
      bytes: (this.#statements.get(hash) as Statement).bytes,
    }));
    await retrying(retries, () => bucket.put(files));
    this.#missing = [];
  }

  isMember(key: PublicKey): boolean {
    return this.#membership.members.has(key);
  }

  /** All that this one was given. */
  async keyring(self: Authority): Promise<Keyring> {
    const keys = new Map<AgeRecipient, AgeIdentity>();
    const names = new Map<PublicKey, string>();
    for (const one of this.#membership.accepted) {
      const id = `${self.key} ${one.hash}`;
      const opening = this.#opened.get(id) ?? openKeyring(one, self);
      this.#opened.set(id, opening);
      const opened = await opening;
      for (const [recipient, identity] of opened?.keys ?? []) keys.set(recipient, identity);
      for (const [key, name] of opened?.names ?? []) names.set(key, name);
    }
    return { keys, names };
  }

  /** Whether there is a key that all members have, and nobody else. */
  get hasUsableKey(): boolean {
    return this.#membership.keys.some(({ usable }) => usable);
  }

  async sealer(self: Authority): Promise<Sealer> {
    const { keys } = await this.keyring(self);
    const usable = this.#membership.keys.find((one) => one.usable && keys.has(one.recipient));
    const newest = this.#membership.keys.map(({ recipient }) => keys.get(recipient)).filter((one) => one !== undefined);
    return sealerOf(usable?.recipient ?? null, newest);
  }

  /** States a change: in this home first, so that a removal counts here whatever becomes of the bucket. */
  async change(bucket: Bucket, retries: Retries, by: Authority, change: Change, now: Date): Promise<Statement> {
    const keyring = await this.keyring(by);
    const statement = await stateChange(this.vault, this.#membership, keyring, by, change, now);
    await this.#keep(statement);
    this.#membership = membershipOf(this.#founder, this.#statements.values());
    this.#missing = [...this.#missing, statement.hash];
    await this.restore(bucket, retries);
    return statement;
  }

  /** Whether a device with this key is a member. */
  knows(device: HeadBody["device"], key: HeadBody["key"]): boolean {
    return isMember(this.#membership, device, key);
  }

  /** Whether a head's device is a member. @throws denied */
  check({ device, key }: HeadBody): void {
    if (isMember(this.#membership, device, key)) return;
    const removed = this.#membership.removed.get(key);
    throw removed === undefined
      ? new VlinderError("denied", `device ${device} is no member of the vault`, {
          remedy: "somebody else may write to the bucket: see vlinder vault devices",
        })
      : new VlinderError("denied", `device ${device} was taken out of the vault`, {
          details: { until: removed.until },
        });
  }

  async #keep(one: Statement): Promise<void> {
    await writeHomeFile(join(folderOf(this.#home), `${one.hash}.json`), one.bytes);
    this.#statements.set(one.hash, one);
  }
}

async function listStatements(bucket: Bucket): Promise<Hash[]> {
  const found: Hash[] = [];
  for await (const { path } of bucket.list("members/")) {
    const hash = FILE.exec(path)?.[1];
    if (hash !== undefined) found.push(hash as Hash);
  }
  return found.toSorted();
}

/** Those that say something, and all that these stand on. */
function stoodOn(accepted: readonly Statement[], isVoid: ReadonlySet<Hash>): Set<Hash> {
  const wanted = new Set<Hash>();
  for (const { hash, body } of accepted.toReversed()) {
    if (isVoid.has(hash) && !wanted.has(hash)) continue;
    wanted.add(hash);
    for (const below of body.after) wanted.add(below);
  }
  return wanted;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

function attempt<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (error instanceof VlinderError && error.code === "invalid") return null;
    throw error;
  }
}
