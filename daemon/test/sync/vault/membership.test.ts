import { randomBytes } from "node:crypto";
import { type DeviceId, sha256 } from "@vlinder/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AgeRecipient } from "../../../src/sync/vault/age-file.ts";
import { deviceFromSeed, type PublicKey } from "../../../src/sync/vault/device.ts";
import type { Authority } from "../../../src/sync/vault/keys.ts";
import { type Membership, membershipOf } from "../../../src/sync/vault/membership.ts";
import {
  decodeStatement,
  encodeStatement,
  type MemberKeys,
  type Statement,
  type StatementBody,
} from "../../../src/sync/vault/statement.ts";

const VAULT = sha256("vault.json");
const LETTERS = "023456789acdefghjklmnpqrstuvwxyz";

/** As many letters as a recipient has; nothing is encrypted here. */
function recipientNamed(name: string): AgeRecipient {
  const letters = [...Buffer.from(sha256(name) + sha256(`${name}2`), "hex")].map((byte) => LETTERS[byte % 32]);
  return `age1${letters.join("").slice(0, 58)}` as AgeRecipient;
}

interface Who extends Authority, Omit<MemberKeys, "key" | "recipient"> {}

function who(name: string): Who {
  const device = deviceFromSeed(sha256(name).slice(0, 32) as DeviceId, Buffer.from(sha256(name), "hex"));
  const none = null as unknown as Authority["identity"];
  const { id, key } = device;
  return { device: id, key, recipient: recipientNamed(name), identity: none, sign: (text) => device.sign(text) };
}

const paper = who("the recovery key");
const [ada, bob, eve, dan, fay] = ["ada", "bob", "eve", "dan", "fay"].map(who) as [Who, Who, Who, Who, Who];

interface Said {
  readonly add?: readonly Who[];
  readonly remove?: readonly Who[];
  readonly recovery?: Who;
  readonly keys?: readonly string[];
  readonly to?: readonly Who[];
  readonly after?: readonly Statement[];
}

let clock = 0;

function say(by: Who, { add = [], remove = [], recovery, keys = ["k"], to = [], after = [] }: Said): Statement {
  const body: StatementBody = {
    add: add
      .map(({ device, key, recipient }) => ({ device, key, recipient }))
      .toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    after: after.map(({ hash }) => hash).toSorted(),
    by: by.key,
    keys: keys.map(recipientNamed).toSorted(),
    recovery: recovery === undefined ? null : { key: recovery.key, recipient: recovery.recipient },
    remove: remove.map(({ key }) => key).toSorted(),
    sealed: "",
    time: new Date(1_760_000_000_000 + clock++).toISOString(),
    to: to.map(({ key }) => key).toSorted(),
    vault: VAULT,
  };
  return encodeStatement(body, by, recovery ?? null);
}

const judge = (...all: Statement[]): Membership => membershipOf({ key: paper.key, recipient: paper.recipient }, all);
const names = ({ members }: Membership): PublicKey[] => [...members.keys()].toSorted();
const keysOf = (...some: Who[]): PublicKey[] => some.map(({ key }) => key).toSorted();

describe("a statement", () => {
  const root = say(paper, { add: [ada], to: [paper, ada] });

  test("reads as it was written", () => {
    const next = say(ada, { after: [root], recovery: bob, remove: [paper], add: [dan] });
    expect(decodeStatement(next.bytes, next.hash, VAULT)).toEqual(next);
  });

  test("that was changed anywhere is refused", () => {
    const { bytes } = say(ada, { after: [root], recovery: bob, remove: [paper], add: [dan] });
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] as number) ^ by;
        expect(() => decodeStatement(changed, sha256(changed), VAULT)).toThrow();
        expect(() => decodeStatement(changed, sha256(bytes), VAULT)).toThrow(/name says|JSON/);
      }),
      { numRuns: 100 },
    );
  });

  test("of another vault, under another name, or with a recovery key that did not sign, is refused", () => {
    expect(() => decodeStatement(root.bytes, root.hash, sha256("other"))).toThrow(/another vault/);
    expect(() => decodeStatement(root.bytes, sha256("x"), VAULT)).toThrow(/name says/);
    const stolen = encodeStatement(say(ada, { after: [root], recovery: bob }).body, ada, eve);
    expect(() => decodeStatement(stolen.bytes, stolen.hash, VAULT)).toThrow(/recovery key/);
    const without = encodeStatement(say(ada, { after: [root], recovery: bob }).body, ada);
    expect(() => decodeStatement(without.bytes, without.hash, VAULT)).toThrow(/proof/);
  });
});

describe("who belongs to a vault", () => {
  const root = say(paper, { add: [ada], to: [paper, ada] });
  const withBob = say(ada, { add: [bob], after: [root], to: [paper, ada, bob] });

  test("are those whom the recovery key or a member added", () => {
    expect(names(judge(root, withBob))).toEqual(keysOf(ada, bob));
    expect(names(judge(root, withBob, say(paper, { add: [dan], after: [root] })))).toEqual(keysOf(ada, bob, dan));
  });

  test("is nobody who added himself, also not as the founder, or standing on what he made up", () => {
    const self = say(eve, { add: [eve], after: [root] });
    const start = say(eve, { add: [eve, ada] });
    const more = say(eve, { add: [dan], after: [self, start] });
    const found = judge(root, withBob, self, start, more);
    expect(names(found)).toEqual(keysOf(ada, bob));
    expect(found.refused.toSorted()).toEqual([self.hash, start.hash].toSorted());
    expect(found.waiting).toEqual([more.hash]);
    expect(found.heads).toEqual([withBob.hash]);
  });

  test("is nobody who was added by one who was not a member yet", () => {
    const early = say(bob, { add: [eve], after: [root] });
    expect(names(judge(root, withBob, early))).toEqual(keysOf(ada, bob));
  });

  test("is not judged by what stands on something that is hidden", () => {
    const removal = say(ada, { remove: [bob], after: [withBob] });
    expect(judge(root, removal)).toMatchObject({ waiting: [removal.hash] });
    expect(names(judge(root, withBob, removal))).toEqual(keysOf(ada));
  });
});

describe("a removal", () => {
  const root = say(paper, { add: [ada], to: [paper, ada] });
  const withBob = say(ada, { add: [bob], after: [root], to: [paper, ada, bob] });
  const withDan = say(bob, { add: [dan], after: [withBob] });
  const removal = say(ada, { remove: [bob], after: [withDan] });

  test("keeps whom the removed one had added before", () => {
    expect(names(judge(root, withBob, withDan, removal))).toEqual(keysOf(ada, dan));
  });

  test("ends what the removed one says afterwards, also where it pretends not to know", () => {
    for (const after of [[removal], [withDan], [withBob]]) {
      const add = say(bob, { add: [eve], after });
      const byEve = say(eve, { add: [fay], remove: [ada], after: [add] });
      const found = judge(root, withBob, withDan, removal, add, byEve);
      expect(names(found)).toEqual(keysOf(ada, dan));
      expect(found.void).toEqual(new Set([add.hash, byEve.hash]));
      expect(found.heads).toEqual([removal.hash]);
    }
  });

  test("of the one who removes wins over that of who came later, whatever it pretends to stand on", () => {
    const back = say(bob, { remove: [ada], after: [withBob] });
    const mine = say(ada, { remove: [bob], after: [withDan] });
    expect(names(judge(root, withBob, withDan, back, mine))).toEqual(keysOf(ada, dan));
    // Dan was let in by Bob, and so comes after him.
    const byDan = say(dan, { remove: [bob], after: [withDan] });
    expect(names(judge(root, withBob, withDan, byDan, say(bob, { remove: [dan], after: [withDan] })))).toEqual(
      keysOf(ada, bob),
    );
  });

  test("by the recovery key wins over all, and one that a device made in its place does not", () => {
    const thief = say(ada, { remove: [bob, dan], after: [withDan] });
    const found = judge(root, withBob, withDan, thief, say(paper, { remove: [ada], after: [withDan] }));
    expect(names(found)).toEqual(keysOf(bob, dan));
    const own = say(bob, { recovery: eve, remove: [paper], after: [withBob] });
    const byOwn = say(eve, { remove: [ada], after: [own] });
    const all = judge(root, withBob, own, byOwn, say(ada, { remove: [bob], after: [withBob] }));
    expect(names(all)).toEqual(keysOf(ada));
    expect(all.recovery.map(({ key }) => key)).toEqual(keysOf(paper));
  });

  test("lasts: nobody brings the key back", () => {
    const again = say(ada, { add: [bob], after: [removal] });
    expect(names(judge(root, withBob, withDan, removal, again))).toEqual(keysOf(ada, dan));
    expect(judge(root, withBob, withDan, removal, again).removed.has(bob.key)).toBe(true);
  });

  test("does not silence one who stands on what was voided, not knowing", () => {
    const voided = say(bob, { add: [eve], after: [withDan] });
    const honest = say(dan, { add: [fay], after: [voided] });
    expect(names(judge(root, withBob, withDan, removal, voided, honest))).toEqual(keysOf(ada, dan, fay));
    const bad = say(bob, { remove: [dan], after: [withDan] });
    const later = say(dan, { add: [fay], after: [removal, bad] });
    expect(names(judge(root, withBob, withDan, removal, bad, later))).toEqual(keysOf(ada, dan, fay));
  });
});

describe("a key of the vault is used", () => {
  const root = say(paper, { add: [ada], to: [paper, ada], keys: ["k1"] });
  const usable = (membership: Membership): AgeRecipient[] =>
    membership.keys.filter((key) => key.usable).map(({ recipient }) => recipient);

  test("when all who belong to it have it, and nobody else ever had", () => {
    const withBob = say(ada, { add: [bob], after: [root], to: [paper, ada, bob], keys: ["k1"] });
    expect(usable(judge(root, withBob))).toEqual([recipientNamed("k1")]);
    const removal = say(ada, { remove: [bob], after: [withBob], to: [paper, ada], keys: ["k1", "k2"] });
    expect(usable(judge(root, withBob, removal))).toEqual([recipientNamed("k2")]);
    const withDan = say(ada, { add: [dan], after: [withBob], to: [paper, ada, bob, dan], keys: ["k1"] });
    expect(usable(judge(root, withBob, removal, withDan))).toEqual([]);
  });

  test("not when the removed one had it made", () => {
    const withBob = say(ada, { add: [bob], after: [root], to: [paper, ada, bob], keys: ["k1"] });
    const his = say(bob, { after: [withBob], to: [paper, ada], keys: ["k1", "kb"] });
    const removal = say(ada, { remove: [bob], after: [withBob], to: [paper, ada], keys: ["k1", "k2"] });
    expect(usable(judge(root, withBob, removal, his))).toEqual([recipientNamed("k2")]);
  });
});

/** A history that machines made, each on what it had seen, and all that was said. */
function randomHistory(seed: readonly number[]): Statement[] {
  const cast = [paper, ada, bob, eve, dan, fay];
  const said = [say(paper, { add: [ada], to: [paper, ada] })];
  for (const [i, number] of seed.entries()) {
    const by = cast[number % 6] as Who;
    const whom = cast[1 + ((number >> 3) % 5)] as Who;
    const after = said.filter((_, at) => ((number >> 6) + at * 7 + i) % 3 === 0).slice(-2);
    const on = after.length > 0 ? after : said.slice(-1);
    said.push(number & 4 && whom !== by ? say(by, { remove: [whom], after: on }) : say(by, { add: [whom], after: on }));
  }
  return said;
}

const plain = (membership: Membership): unknown => ({
  members: names(membership),
  removed: [...membership.removed.keys()].toSorted(),
  heads: membership.heads,
  keys: membership.keys,
  void: [...membership.void].toSorted(),
  refused: membership.refused.toSorted(),
});

test("the same statements give the same answer in every order", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1 << 20), { maxLength: 14 }), fc.infiniteStream(fc.nat()), (seed, order) => {
      const all = randomHistory(seed);
      const shuffled = all.map((one) => ({ one, at: order.next().value as number })).toSorted((a, b) => a.at - b.at);
      expect(plain(judge(...shuffled.map(({ one }) => one)))).toEqual(plain(judge(...all)));
    }),
    { numRuns: 150 },
  );
});

test("whoever is not a member, or is no more, changes nothing by whatever he says", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1 << 20), { maxLength: 10 }), fc.nat(1 << 20), fc.nat(), (seed, act, at) => {
      const all = randomHistory(seed);
      const before = judge(...all);
      const bad = [ada, bob, eve, dan, fay].find(({ key }) => before.removed.has(key) || !before.members.has(key));
      if (bad === undefined || !before.accepted.length) return;
      // By the recovery key, which nobody outranks.
      const sure = before.removed.has(bad.key)
        ? [say(paper, { remove: [bad], after: before.accepted.filter(({ hash }) => before.heads.includes(hash)) })]
        : [];
      const on = before.accepted[at % before.accepted.length] as Statement;
      const accomplice = who(`accomplice ${randomBytes(4).toString("hex")}`);
      const one = say(bad, act & 1 ? { add: [accomplice], after: [on] } : { remove: [ada, paper], after: [on] });
      const two = say(accomplice, { add: [who("another")], remove: [ada, paper], after: [one] });
      const kept = judge(...all, ...sure);
      const after = judge(...all, ...sure, one, two);
      expect(names(after)).toEqual(names(kept));
      expect(after.heads).toEqual(kept.heads);
      expect([...after.recovery]).toEqual([...kept.recovery]);
    }),
    { numRuns: 150 },
  );
});
