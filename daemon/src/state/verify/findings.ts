import { type Damage, type Hash, type Key, keyText } from "@vlinder/protocol";
import type { Flaw } from "./flaw.ts";
import { ObjectTable } from "./object-table.ts";

/** Of what a damaged object affects, so much is named; all is counted. */
const EXAMPLES = 20;
/** So many are described; what is more is counted. */
const DESCRIBED = 1000;

/** One object that is not as it must be, and what needs it. */
export class Finding implements Damage {
  readonly kind: Damage["kind"];
  readonly hash: Hash;
  readonly problem: Damage["problem"];
  readonly message: string;
  readonly commits: Hash[] = [];
  readonly keys: string[] = [];
  readonly affects = { commits: 0, keys: 0 };
  #last: Hash | null = null;

  constructor({ kind, hash, problem, message }: Flaw) {
    this.kind = kind;
    this.hash = hash;
    this.problem = problem;
    this.message = message;
  }

  /** Commits come one after the other, so that each is counted once. */
  affect(commit: Hash, keys: readonly string[]): void {
    if (this.#last !== commit) {
      this.#last = commit;
      this.affects.commits++;
      if (this.commits.length < EXAMPLES) this.commits.push(commit);
    }
    this.affects.keys += keys.length;
    for (const key of keys) {
      if (this.keys.length === EXAMPLES) return;
      const text = keyText(key as Key);
      if (!this.keys.includes(text)) this.keys.push(text);
    }
  }
}

/** What is wrong, each object once. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #known = new Map<string, Finding>();
  readonly #more = new ObjectTable();

  /** How many objects are not intact. */
  get count(): number {
    return this.list.length + this.#more.size;
  }

  /** @param commit what needs the object; `keys` for these keys */
  note(flaw: Flaw, commit: Hash, ...keys: readonly string[]): Finding {
    const name = `${flaw.kind} ${flaw.hash}`;
    const known = this.#known.get(name);
    const finding = known ?? new Finding(flaw);
    if (known === undefined && this.list.length < DESCRIBED) {
      this.#known.set(name, finding);
      this.list.push(finding);
    } else if (known === undefined) {
      this.#more.add(flaw.hash);
    }
    finding.affect(commit, keys);
    return finding;
  }
}
