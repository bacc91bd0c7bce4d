import { parseArgs } from "node:util";

export const SECTIONS = [
  "engine",
  "forks",
  "history",
  "wire",
  "agents",
  "readers",
  "transactions",
  "turns",
  "vectors",
  "verify",
  "startup",
  "memory",
  "clone",
  "deltas",
] as const;
export type SectionName = (typeof SECTIONS)[number];

export interface Options {
  /** Smaller states and fewer rounds: under two minutes, and rougher. */
  readonly quick: boolean;
  readonly json: boolean;
  /** Write docs/bench.md. */
  readonly write: boolean;
  readonly only: ReadonlySet<SectionName>;
  /** A folder for CPU profiles of the daemon; null: none are taken. */
  readonly profile: string | null;
}

export const USAGE = `usage: npm run bench -- [--quick] [--only NAME]... [--json] [--write] [--profile DIR]

  --quick        smaller states, fewer rounds: under two minutes, and rougher
  --only NAME    one of ${SECTIONS.join(", ")};
                 may be given several times
  --json         print the result as JSON
  --write        write the table to docs/bench.md
  --profile DIR  leave CPU profiles of the daemons there: node test/bench/top-functions.ts FILE

Exit code 1 when a ratio that must hold does not, or a section breaks off.
`;

/** Null: the usage was asked for. @throws an Error that says what is wrong */
export function readOptions(args: readonly string[]): Options | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      only: { type: "string", multiple: true, default: [] },
      profile: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return null;
  const only = values.only.map((name) => {
    const known = SECTIONS.find((section) => section === name);
    if (known === undefined) throw new Error(`there is no section "${name}": ${SECTIONS.join(", ")}`);
    return known;
  });
  const { quick, json, write, profile = null } = values;
  return { quick, json, write, only: new Set(only.length === 0 ? SECTIONS : only), profile };
}
