import type { ImportFinding } from "@vlinder/protocol";

/** What can be wrong with a foreign history, and what is done then. */
const KINDS = {
  "unknown table": "it was left out",
  "unknown column": "it was left out",
  "commit of another hash": "it was taken: SHA-256 of snapshot and parent is not its name",
  "missing parent": "the commit was taken as the first one of a branch of its own",
  "commit that nothing leads to": "it was left out: its parents go in a circle",
  "missing snapshot": "the commit was left out, and those after it stand on the one before it",
  "unreadable snapshot": "the commit was left out, and those after it stand on the one before it",
  "snapshot of another hash": "it was taken as it is: SHA-256 of its text is not its name",
  "commit without a change": "there is no commit for it: the state before it was empty too",
  "path that is no key": "it was left out: a key is 1 to 1,024 bytes of UTF-8 without NUL",
  "entry without a hash": "it was left out",
  "missing value": "its key was left out",
  "value of another hash": "its bytes were kept, under their own SHA-256",
  "value that no commit reaches": "it was left out",
  "snapshot that no commit reaches": "it was left out",
  view: "it was left out: its rows are those of tables",
  trigger: "it was left out: it has no rows",
  "virtual table": "it was left out: its rows are a module's",
  "vector table": "it was left out: put its vectors with vector.put, or embed the texts again",
  "shadow table": "it was left out: it is the inside of a virtual table",
  "table of SQLite's own": "it was left out",
  "table that can't be read": "it was left out",
  "generated column": "it was left out: it is computed from the others",
  "vector column": "its bytes came with the rows; put them with vector.put to search them",
  "key over 1,024 bytes": "the row came, under the SHA-256 of its key",
  "row over 64 MiB": "it was left out",
} as const;

type FindingKind = keyof typeof KINDS;

const EXAMPLES = 5;

/** Counts what could not be mapped as it was; in memory only some examples. */
export class ImportFindings {
  readonly #found = new Map<FindingKind, { count: number; examples: Set<string> }>();

  add(kind: FindingKind, example: string, count = 1): void {
    const found = this.#found.get(kind) ?? { count: 0, examples: new Set() };
    found.count += count;
    if (found.examples.size < EXAMPLES) found.examples.add(example);
    this.#found.set(kind, found);
  }

  /** A number of things without names. */
  addCount(kind: FindingKind, count: number): void {
    if (count > 0) this.#found.set(kind, { count, examples: new Set() });
  }

  list(): ImportFinding[] {
    return [...this.#found].map(([what, { count, examples }]) => {
      return { what, count, examples: [...examples], done: KINDS[what] };
    });
  }
}
