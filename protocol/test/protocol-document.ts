import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { isHash, type Json } from "../src/index.ts";

/** One request of PROTOCOL.md and what its reply looks like. */
export interface Step {
  readonly operation: string;
  readonly request: { readonly [name: string]: Json };
  readonly reply: Json;
  /** Whether the reply is an error. */
  readonly error: boolean;
  /** Of the request's block. */
  readonly line: number;
}

/** What the daemon publishes by itself, as PROTOCOL.md shows it. */
export interface ShownMessage {
  /** The subject, after the agent's name. */
  readonly subject: string;
  readonly body: Json;
  readonly line: number;
}

export interface ProtocolDocument {
  readonly text: string;
  /** In the order in which they are to be sent, to a daemon that has neither the agent nor a bucket. */
  readonly steps: readonly Step[];
  readonly messages: readonly ShownMessage[];
  /** The agent.toml that the examples use. */
  readonly manifest: string;
}

export async function readProtocolDocument(): Promise<ProtocolDocument> {
  const text = await readFile(fileURLToPath(new URL("../PROTOCOL.md", import.meta.url)), "utf8");
  const pattern = /^```json request (\S+)\n(.*?)^```\n```json (reply|error)\n(.*?)^```$/gms;
  const steps = [...text.matchAll(pattern)].map((match): Step => {
    const [, operation = "", request = "", kind, reply = ""] = match;
    const line = text.slice(0, match.index).split("\n").length;
    return {
      operation,
      request: JSON.parse(request) as Step["request"],
      reply: JSON.parse(reply) as Json,
      error: kind === "error",
      line,
    };
  });
  const messages = [...text.matchAll(/^```json message (\S+)\n(.*?)^```$/gms)].map((match): ShownMessage => {
    const [, subject = "", body = ""] = match;
    return { subject, body: JSON.parse(body) as Json, line: text.slice(0, match.index).split("\n").length };
  });
  return { text, steps, messages, manifest: /^```toml\n(.*?)^```$/ms.exec(text)?.[1] ?? "" };
}

const KINDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  hash: isHash,
  time: (value) => typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value),
  number: (value) => typeof value === "number" && value >= 0,
  text: (value) => typeof value === "string" && value !== "",
  any: () => true,
};

/**
 * Compares replies with the document's, where `<hash>` stands for any hash, `<first:hash>` for one to
 * be remembered, and `<first>` for that one again; and puts what it remembers into requests.
 */
export class Placeholders {
  private readonly known: Map<string, unknown>;

  /** `given`: what is known from the start, like the folder that `<dir>` stands for. */
  constructor(given: Readonly<Record<string, string>> = {}) {
    this.known = new Map(Object.entries(given));
  }

  /** A request with what its placeholders stand for. */
  fill<T extends Json>(value: T): T {
    return JSON.parse(JSON.stringify(value), (_name, member: unknown) => {
      const name = typeof member === "string" ? /^<([a-z]+)>$/.exec(member)?.[1] : undefined;
      if (name === undefined) return member;
      if (!this.known.has(name)) throw new Error(`nothing is known as <${name}>`);
      return this.known.get(name);
    }) as T;
  }

  /** Where a reply is not as the document says, in a sentence each; none when it is. */
  differences(expected: Json, actual: unknown, path = "reply"): string[] {
    if (typeof expected === "string") {
      const [, name, kind] = /^<(?:([a-z]+):)?([a-z]+)>$/.exec(expected) ?? [];
      if (kind !== undefined)
        return this.matches(name, kind, actual) ? [] : [`${path}: ${show(actual)} is no ${expected}`];
    }
    if (Array.isArray(expected)) return this.listDifferences(expected, actual, path);
    if (typeof expected === "object" && expected !== null) {
      if (typeof actual !== "object" || actual === null) return [`${path}: ${show(actual)} is no object`];
      const members = expected as { readonly [name: string]: Json };
      const names = new Set([...Object.keys(members), ...Object.keys(actual)]);
      return [...names].flatMap((name) => {
        if (!(name in members)) return [`${path}.${name} is not in the document`];
        if (!(name in actual)) return [`${path}.${name} is missing`];
        return this.differences(members[name] as Json, (actual as Record<string, unknown>)[name], `${path}.${name}`);
      });
    }
    return expected === actual ? [] : [`${path}: ${show(actual)} instead of ${show(expected)}`];
  }

  private listDifferences(expected: readonly Json[], actual: unknown, path: string): string[] {
    if (!Array.isArray(actual)) return [`${path}: ${show(actual)} is no list`];
    const open = expected.at(-1) === "…";
    const items = open ? expected.slice(0, -1) : expected;
    if (open ? actual.length < items.length : actual.length !== items.length) {
      return [`${path}: ${actual.length} items instead of ${items.length}`];
    }
    return items.flatMap((item, i) => this.differences(item, actual[i], `${path}.${i}`));
  }

  private matches(name: string | undefined, kind: string, actual: unknown): boolean {
    if (name === undefined && this.known.has(kind)) return this.known.get(kind) === actual;
    const check = KINDS[kind];
    if (check === undefined) throw new Error(`nothing is known as <${kind}>`);
    if (!check(actual)) return false;
    if (name !== undefined) this.known.set(name, actual);
    return true;
  }
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
