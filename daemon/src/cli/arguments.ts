import {
  type AgentName,
  asVlinderError,
  type BranchName,
  keyText,
  MAIN,
  parseAgentName,
  parseBranchName,
  parseKey,
  parseKeyPrefix,
} from "@vlinder/protocol";
import { UsageError } from "./failure.ts";
import { momentOf } from "./moment.ts";

/** Runs a parser over what was typed: what it refuses is wrong usage. */
function typed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (thrown) {
    const error = asVlinderError(thrown);
    throw new UsageError(error.message, error.remedy ?? "see --help", thrown);
  }
}

export function agentArgument(text: string): AgentName {
  return typed(() => parseAgentName(text));
}

export function branchArgument(text: string): BranchName {
  return typed(() => parseBranchName(text));
}

export function keyArgument(text: string): string {
  return keyText(typed(() => parseKey(text)));
}

export function prefixArgument(text: string): string {
  return keyText(typed(() => parseKeyPrefix(text)));
}

/** A value's hash: all digits, or a prefix that is unique. */
export function hashArgument(text: string): string {
  if (/^[0-9a-f]{4,64}$/.test(text)) return text;
  throw new UsageError(
    `not a value's hash: ${JSON.stringify(text.slice(0, 80))}`,
    "a value's hash is 4 to 64 lower-case hex digits",
  );
}

/** What names a commit: a branch, a commit, a turn or a time, also `fix@2h`. */
export function refArgument(text: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text;
  const at = text.indexOf("@");
  const time = momentOf(text.slice(at + 1), at >= 0);
  if (at < 0) return time ?? branchArgument(text);
  if (time !== null) return `${at === 0 ? MAIN : branchArgument(text.slice(0, at))}@${time}`;
  throw new UsageError(
    `not a time: ${JSON.stringify(text.slice(at + 1, at + 80))}`,
    "write it like 2026-11-20T21:40Z, 2026-11-20, 2h, '3 d ago' or yesterday",
  );
}

export function countArgument(text: string, most: number = Number.MAX_SAFE_INTEGER): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= most) return number;
  throw new UsageError(
    `not a number of items: ${JSON.stringify(text.slice(0, 80))}`,
    most === Number.MAX_SAFE_INTEGER ? "give a number from 1" : `give a number from 1 to ${most}`,
  );
}

export function jsonArgument(text: string, what: string): unknown {
  return typed(() => {
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new UsageError(`${what} is not JSON`, "quote it for the shell: '[0.1, 0.2]'", cause);
    }
  });
}

/** The fields of a request that say which state is read. */
export interface ReadOptions {
  readonly branch?: string;
  readonly at?: string;
}

export function readFieldsOf({ branch, at }: ReadOptions): { branch?: BranchName; at?: string } {
  if (branch !== undefined && at !== undefined) {
    throw new UsageError(
      "--at and --branch name two states",
      "--at says by itself which state it is, like fix@2h: drop --branch",
    );
  }
  return {
    ...(branch === undefined ? {} : { branch: branchArgument(branch) }),
    ...(at === undefined ? {} : { at: refArgument(at) }),
  };
}

export function branchFieldOf({ branch }: { readonly branch?: string }): { branch?: BranchName } {
  return branch === undefined ? {} : { branch: branchArgument(branch) };
}
