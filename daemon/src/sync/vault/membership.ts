import type { DeviceId, Hash } from "@vlinder/protocol";
import type { AgeRecipient } from "./age-file.ts";
import type { PublicKey } from "./device.ts";
import { type Graph, graphOf } from "./statement-graph.ts";
import type { MemberKeys, Statement } from "./statement.ts";
import type { Founder } from "./vault.ts";

export interface Member extends MemberKeys {
  /** ISO 8601: when it was added, as its sponsor said. */
  readonly since: string;
}

export interface RemovedMember extends Member {
  /** ISO 8601: when it was taken out. */
  readonly until: string;
}

/** A key of the vault that packs and heads may be encrypted to, and all that can be read with it. */
export interface ReadingKey {
  readonly recipient: AgeRecipient;
  /** Everyone who belongs to the vault can open it, and nobody else ever could. */
  readonly usable: boolean;
}

/** Who belongs to a vault, as follows from statements: of the same ones, the same everywhere. */
export interface Membership {
  /** Those that a member has signed, each behind those that it stands on. */
  readonly accepted: readonly Statement[];
  /** Not signed by one who belonged to the vault. */
  readonly refused: readonly Hash[];
  /** Something that it stands on is not there. */
  readonly waiting: readonly Hash[];
  readonly members: ReadonlyMap<PublicKey, Member>;
  readonly removed: ReadonlyMap<PublicKey, RemovedMember>;
  readonly recovery: readonly Founder[];
  /** Accepted, but of a member that was removed, and not known to who removed it: they say nothing. */
  readonly void: ReadonlySet<Hash>;
  /** What a new statement stands on, in order. */
  readonly heads: readonly Hash[];
  /** The best to encrypt with first. */
  readonly keys: readonly ReadingKey[];
}

/**
 * Judges statements. One counts when its signer belonged to the vault in what it stands on; so nobody who only
 * has the bucket can add himself, and hiding statements can only keep the newest ones from those who have not seen them.
 *
 * A removal ends what the removed key says: of that, only what the removal stands on counts. So a removed member can't
 * go on in the past, where the removal was not known. Of two that remove each other, who was there first
 * counts; the recovery key was there before all.
 */
export function membershipOf(founder: Founder, statements: Iterable<Statement>): Membership {
  const graph = graphOf(founder.key, statements);
  const removals = takenRemovals(graph);
  const isVoid = voidness(graph, removals);
  const gone = new Map<PublicKey, string>();
  for (const { body } of removals) {
    for (const key of body.remove) if ((gone.get(key) ?? body.time) >= body.time) gone.set(key, body.time);
  }
  const members = new Map<PublicKey, Member>();
  const removed = new Map<PublicKey, RemovedMember>();
  const recovery = new Map<PublicKey, Founder>();
  if (!gone.has(founder.key)) recovery.set(founder.key, founder);
  for (const one of graph.accepted) {
    for (const keys of one.body.add) {
      const until = gone.get(keys.key);
      const member = { ...keys, since: one.body.time };
      if (until !== undefined) removed.set(keys.key, removed.get(keys.key) ?? { ...member, until });
      else if (!isVoid(one) && !members.has(keys.key)) members.set(keys.key, member);
    }
    const next = one.body.recovery;
    if (next !== null && !isVoid(one) && !gone.has(next.key)) recovery.set(next.key, next);
  }
  const all = [...members.keys(), ...recovery.keys()];
  return {
    accepted: graph.accepted,
    refused: graph.refused,
    waiting: graph.waiting,
    members,
    removed,
    recovery: [...recovery.values()],
    void: new Set(graph.accepted.filter(isVoid).map(({ hash }) => hash)),
    heads: newest(graph.accepted.filter((one) => !isVoid(one))),
    keys: readingKeys(graph, isVoid, new Set(all)),
  };
}

/** Whether a head's device and key belong to the vault. */
export function isMember({ members }: Membership, device: DeviceId, key: PublicKey): boolean {
  return members.get(key)?.device === device;
}

function newest(statements: readonly Statement[]): Hash[] {
  const stoodOn = new Set(statements.flatMap(({ body }) => body.after));
  return statements
    .map(({ hash }) => hash)
    .filter((hash) => !stoodOn.has(hash))
    .toSorted();
}

/** Removals that count, found by seniority, so that the answer hangs on nothing else. */
function takenRemovals(graph: Graph): Statement[] {
  const taken: Statement[] = [];
  for (const one of graph.bySeniority(graph.accepted.filter(({ body }) => body.remove.length > 0))) {
    if (!voidness(graph, taken)(one)) taken.push(one);
  }
  return taken;
}

function voidness(graph: Graph, removals: readonly Statement[]): (one: Statement) => boolean {
  const known = new Map<Hash, boolean>();
  const isVoid = (one: Statement): boolean => {
    const before = known.get(one.hash);
    if (before !== undefined) return before;
    const { by } = one.body;
    const ended = removals.some(
      (removal) =>
        removal.hash !== one.hash && removal.body.remove.includes(by) && !graph.isBefore(one.hash, removal.hash),
    );
    const result = ended || !graph.grants(by, one).some((grant) => grant === "founder" || !isVoid(grant));
    known.set(one.hash, result);
    return result;
  };
  return isVoid;
}

function readingKeys(graph: Graph, isVoid: (one: Statement) => boolean, all: ReadonlySet<PublicKey>): ReadingKey[] {
  const found = new Map<AgeRecipient, { holders: Set<PublicKey>; depth: number; isVoid: boolean }>();
  for (const one of graph.accepted) {
    for (const recipient of one.body.keys) {
      const key = found.get(recipient) ?? { holders: new Set(), depth: graph.depth(one), isVoid: true };
      found.set(recipient, key);
      for (const holder of one.body.to) key.holders.add(holder);
      if (!isVoid(one)) key.isVoid = false;
    }
  }
  return [...found]
    .toSorted(([a, { depth: x }], [b, { depth: y }]) => y - x || (a < b ? -1 : 1))
    .map(([recipient, { holders, isVoid: none }]) => ({
      recipient,
      usable: !none && holders.size === all.size && [...all].every((one) => holders.has(one)),
    }))
    .toSorted((a, b) => Number(b.usable) - Number(a.usable));
}
