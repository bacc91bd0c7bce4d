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
import { newId } from "./new-id.ts";
import { bytesOf, type Fields, type Operation, operation } from "./operation.ts";
import { allPages } from "./pages.ts";
import { fieldsOf, lineOf, nullIfMissing, type Scope } from "./scope.ts";
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
  get(key: string): Promise<Value | null> {
    return this.send("get", { key, ...fieldsOf(this.scope) }).then(toValue, nullIfMissing);
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

  protected send(op: Operation["op"], fields: Fields): Promise<unknown> {
    try {
      return this.scope.kv.add(lineOf(this.scope), operation(op, fields));
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** The keys of an agent on a branch. Every write is a commit of its own, durable when it is answered. */
export class Kv extends KvReader {
  /** @throws conflict when `expect` does not hold, too_large, invalid */
  put(key: string, value: Content, { expect }: Expect = {}): Promise<PutReply> {
    return this.send("put", { key, value, expect, ...fieldsOf(this.scope), id: newId() }) as Promise<PutReply>;
  }

  /** Puts a value as the text that `JSON.stringify` makes of it. */
  async putJson(key: string, value: Json | object, options: Expect = {}): Promise<PutReply> {
    const text: string | undefined = JSON.stringify(value);
    if (text === undefined) throw new VlinderError("invalid", `a ${typeof value} has no JSON form`);
    return this.put(key, text, options);
  }

  /** Whether there was something to delete. @throws conflict */
  async delete(key: string, { expect }: Expect = {}): Promise<boolean> {
    const reply = await this.send("delete", { key, expect, ...fieldsOf(this.scope), id: newId() });
    return (reply as DeleteReply).deleted;
  }

  /** Several changes in one commit, all or none. @throws conflict, too_large */
  async batch(changes: readonly BatchChange[]): Promise<BatchReply> {
    const { client, agent, kv } = this.scope;
    const ops = changes.map(({ expect, ...change }) => ({
      ...change,
      ...expectField(expect),
      // A copy: what the caller does to its bytes while they wait must not change what is stored.
      ...("value" in change ? { value: new Uint8Array(bytesOf(change.value)) } : {}),
    }));
    const body = { ops, ...fieldsOf(this.scope), id: newId() };
    checkRequest(agentRequests["kv.batch"], body);
    const keys = ops.map((change) => change.key);
    return kv.alone(lineOf(this.scope), keys, "writes", () => client.request(agent, "kv.batch", body));
  }
}

function toValue(reply: unknown): Value {
  return new Value(reply as GetReply);
}

/** Null means something here, and undefined nothing. */
function expectField(expect: Expect["expect"]): { expect?: string | null } {
  return expect === undefined ? {} : { expect };
}
