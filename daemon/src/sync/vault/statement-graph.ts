import type { Hash } from "@vlinder/protocol";
import type { PublicKey } from "./device.ts";
import type { Statement } from "./statement.ts";

/** Statements by what they stand on. */
export interface Graph {
  /** Each behind those that it stands on; otherwise in the order of their hashes. */
  readonly accepted: readonly Statement[];
  readonly refused: readonly Hash[];
  readonly waiting: readonly Hash[];
  /** Whether `later` stands on `one`. */
  isBefore(one: Hash, later: Hash): boolean;
  /** Statements that this one stands on and that gave the key its say; `founder`: it has it from the start. */
  grants(key: PublicKey, one: Statement): (Statement | "founder")[];
  depth(one: Statement): number;
  /** Those of the signers that had their say first come first. */
  bySeniority(statements: readonly Statement[]): Statement[];
}

/** Accepts statements whose signer had got its say in what they stand on. */
export function graphOf(founder: PublicKey, statements: Iterable<Statement>): Graph {
  const accepted = new Map<Hash, Statement>();
  const above = new Map<Hash, ReadonlySet<Hash>>();
  const depths = new Map<Hash, number>();
  const refused: Hash[] = [];
  let pending = [...statements].toSorted((a, b) => (a.hash < b.hash ? -1 : 1));

  const before = (one: Statement): Statement[] =>
    [...(above.get(one.hash) ?? [])].map((hash) => accepted.get(hash) as Statement);
  const grants = (key: PublicKey, one: Statement): (Statement | "founder")[] => [
    ...(key === founder ? (["founder"] as const) : []),
    ...before(one).filter(({ body }) => gives(body, key)),
  ];
  const place = (one: Statement): void => {
    const { after, by } = one.body;
    above.set(one.hash, new Set(after.flatMap((hash) => [hash, ...(above.get(hash) ?? [])])));
    if (grants(by, one).length === 0) {
      refused.push(one.hash);
      return;
    }
    accepted.set(one.hash, one);
    depths.set(one.hash, 1 + Math.max(0, ...after.map((hash) => depths.get(hash) as number)));
  };

  for (let more = true; more;) {
    const next = pending.filter(({ body }) => body.after.every((hash) => accepted.has(hash)));
    pending = pending.filter((one) => !next.includes(one));
    for (const one of next) place(one);
    more = next.length > 0;
  }

  const order = [...accepted.values()];
  const depth = (one: Statement): number => depths.get(one.hash) as number;
  /** The founding recovery key, and those that follow it by its own word, stand above all devices. */
  const isAbove = (key: PublicKey, until = Infinity): boolean =>
    key === founder ||
    order.some((one) => one.body.recovery?.key === key && depth(one) < until && isAbove(one.body.by, depth(one)));
  /** When a key got its say. What a key gives is always later than itself, so nobody can come before who let him in. */
  const rank = (key: PublicKey): Rank => {
    if (key === founder) return [0, 0, ""];
    const given = order.filter(({ body }) => gives(body, key)).map((one) => [depth(one), one.hash] as const);
    const [at, hash] = given.toSorted((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1))[0] as readonly [number, Hash];
    return [isAbove(key) ? 0 : 1, at, hash];
  };
  return {
    accepted: order,
    refused,
    waiting: pending.map(({ hash }) => hash),
    isBefore: (one, later) => above.get(later)?.has(one) ?? false,
    grants,
    depth,
    bySeniority: (some) =>
      some
        .map((one) => ({ one, rank: [...rank(one.body.by), one.body.by, depth(one), one.hash] as const }))
        .toSorted((a, b) => compare(a.rank, b.rank))
        .map(({ one }) => one),
  };
}

type Rank = readonly [above: number, depth: number, grant: string];

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  const at = a.findIndex((part, i) => part !== b[i]);
  return at < 0 ? 0 : (a[at] as string) < (b[at] as string) ? -1 : 1;
}

function gives({ add, recovery }: Statement["body"], key: PublicKey): boolean {
  return recovery?.key === key || add.some((one) => one.key === key);
}
