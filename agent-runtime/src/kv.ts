import {
  agentRequests,
  type BatchReply,
  checkRequest,
  type DeleteReply,
  type GetReply,
  type Hash,
  type HistoryItem,
  type Json,
  LIMITS,
  type ListItem,
  type ListReply,
  type PutReply,
  VlinderError,
} from "@vlinder/protocol";
import { nuid } from "nats";
import { allPages } from "./pages.ts";
import { fieldsOf, lineOf, orNull, type Scope } from "./scope.ts";
import { Value } from "./value.ts";

/** Text is stored as its UTF-8 bytes, bytes as they are. */
export type Content = string | Uint8Array;

export interface Expect {
  /** The value's hash that the key must have now, or null for "must not exist"; else `conflict`. */
  readonly expect?: Hash | string | null;
}

/** One change of a batch. */
export type BatchChange =
  | ({ readonly op: "put"; readonly key: string; readonly value: Content } & Expect)
  | ({ readonly op: "delete"; readonly key: string } & Expect);

/** Which keys of a page. */
export interface PageRequest {
  readonly prefix?: string;
  /** Keys behind this one. */
  readonly after?: string;
  /** At most 1,000; default 100. */
  readonly limit?: number;
}

/** The keys of an agent at a state that may be in the past. */
export class KvReader {
  protected readonly scope: Scope;

  constructor(scope: Scope) {
    this.scope = scope;
  }

  /** `null` when there is no such key. @throws VlinderError */
  async get(key: string): Promise<Value | null> {
    const operation = { op: "get", key, ...fieldsOf(this.scope) } as const;
    check("kv.get", operation);
    const reply = await orNull(this.scope.kv.add(lineOf(this.scope), operation) as Promise<GetReply>);
    return reply === null ? null : new Value(reply);
  }

  /** All keys with a prefix, in the order of their UTF-8 bytes, from one state. */
  list(prefix = ""): AsyncGenerator<ListItem, void> {
    return allPages((position) => this.page({ prefix, limit: LIMITS.page, ...position }));
  }

  /** One page of keys; `next` is the `after` of the one behind it, or null. */
  page(request: PageRequest & { readonly at?: string } = {}): Promise<ListReply> {
    return this.scope.client.request(this.scope.agent, "kv.list", { ...request, ...fieldsOf(this.scope, request.at) });
  }

  /** Every change of a key, newest first. */
  history(key: string): AsyncGenerator<HistoryItem, void> {
    const { client, agent } = this.scope;
    return allPages(({ after, at }) => {
      return client.request(agent, "kv.history", { key, after, limit: LIMITS.page, ...fieldsOf(this.scope, at) });
    });
  }
}

/** The keys of an agent on a branch. Every write is a commit of its own, durable when it is answered. */
export class Kv extends KvReader {
  /** @throws conflict when `expect` does not hold, too_large, invalid */
  async put(key: string, value: Content, { expect }: Expect = {}): Promise<PutReply> {
    const operation = {
      op: "put",
      key,
      value: bytesOf(value),
      ...expectField(expect),
      ...fieldsOf(this.scope),
      id: nuid.next(),
    } as const;
    check("kv.put", operation);
    return (await this.scope.kv.add(lineOf(this.scope), operation)) as PutReply;
  }

  /** Puts a value as the text that `JSON.stringify` makes of it. */
  async putJson(key: string, value: Json | object, options: Expect = {}): Promise<PutReply> {
    const text: string | undefined = JSON.stringify(value);
    if (text === undefined) throw new VlinderError("invalid", `a ${typeof value} has no JSON form`);
    return this.put(key, text, options);
  }

  /** Whether there was something to delete. @throws conflict */
  async delete(key: string, { expect }: Expect = {}): Promise<boolean> {
    const fields = { ...expectField(expect), ...fieldsOf(this.scope), id: nuid.next() };
    const operation = { op: "delete", key, ...fields } as const;
    check("kv.delete", operation);
    const reply = (await this.scope.kv.add(lineOf(this.scope), operation)) as DeleteReply;
    return reply.deleted;
  }

  /** Several changes in one commit, all or none. @throws conflict, too_large */
  async batch(changes: readonly BatchChange[]): Promise<BatchReply> {
    const { client, agent, kv } = this.scope;
    const ops = changes.map(({ expect, ...change }) => ({
      ...change,
      ...expectField(expect),
      ...("value" in change ? { value: bytesOf(change.value) } : {}),
    }));
    const body = { ops, ...fieldsOf(this.scope), id: nuid.next() };
    checkRequest(agentRequests["kv.batch"], body);
    const keys = ops.map((change) => change.key);
    return kv.alone(lineOf(this.scope), keys, true, () => client.request(agent, "kv.batch", body));
  }
}

/** The daemon's own check, made before anything is sent; so one bad operation stops no other. */
function check(name: "kv.put" | "kv.get" | "kv.delete", operation: { readonly op: string }): void {
  const { op: _, ...body } = operation;
  checkRequest(agentRequests[name], body);
}

/** A copy: what the caller does to its bytes while they wait must not change what is stored. */
function bytesOf(value: Content): Uint8Array {
  if (typeof value === "string") {
    if (value.isWellFormed()) return Buffer.from(value, "utf8");
    throw new VlinderError("invalid", "a value's text has a lone surrogate", { remedy: "store well-formed text" });
  }
  if (value instanceof Uint8Array) return new Uint8Array(value);
  throw new VlinderError("invalid", "a value is text or bytes", { remedy: "use putJson for anything else" });
}

/** Null means something here, and undefined nothing. */
function expectField(expect: Expect["expect"]): { expect?: string | null } {
  return expect === undefined ? {} : { expect };
}
