import {
  type AgentReplies,
  agentRequests,
  type BatchReply,
  type BlameItem,
  checkRequest,
  type DeleteReply,
  type GetReply,
  type Hash,
  type HistoryItem,
  isHash,
  type Json,
  LIMITS,
  type ListItem,
  type ListReply,
  type PutReply,
  VlinderError,
} from "@vlinder/protocol";
import { bytesOf, checkContent, type Content, isSmall } from "./content.ts";
import { newId } from "./new-id.ts";
import { type Fields, type Operation, operation } from "./operation.ts";
import { allPages } from "./pages.ts";
import { fieldsOf, lineOf, nullIfMissing, pastFieldsOf, type Scope } from "./scope.ts";
import { type Fetch, StoredValue } from "./stored-value.ts";
import type { Uploaded, UploadOptions } from "./uploader.ts";
import { Value } from "./value.ts";
import { type Change, watch, type WatchOptions } from "./watch.ts";

export interface Expect {
  /** The value's hash that the key must have now, or null for "must not exist"; else `conflict`. */
  readonly expect?: Hash | string | null;
}

/** Of a large value; small ones go at once. */
export interface PutOptions extends Expect, UploadOptions {}

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
    const reply = this.send("get", { key, ...fieldsOf(this.scope) });
    return reply.then(toValue, (error: unknown) => this.inParts(key, error));
  }

  /** A value to be read in parts, as they are needed: for what is too large for memory. `null` when there is no such key. */
  async open(key: string): Promise<StoredValue | null> {
    checkRequest(agentRequests["kv.get"], { key, ...fieldsOf(this.scope) });
    // In its turn: what is being put in this key is there then.
    return this.scope.kv.alone(lineOf(this.scope), [key], "reads", () => StoredValue.open(this.fetching(key)));
  }

  /** What fits in no reply, and `null` for what is not there. @throws every other error */
  private async inParts(key: string, error: unknown): Promise<Value | null> {
    const { hash, size, state } = error instanceof VlinderError && error.code === "too_large" ? error.details : {};
    if (!isHash(hash) || !isHash(state)) return nullIfMissing(error);
    const stored = new StoredValue({ hash, size: Number(size), state }, this.fetching(key));
    return new Value({ value: await stored.bytes(), hash, size: stored.size, state });
  }

  private fetching(key: string): Fetch {
    const { client, agent } = this.scope;
    return ({ at, ...range }) => client.request(agent, "value.get", { key, ...range, ...fieldsOf(this.scope, at) });
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
      return client.request(agent, "kv.history", { key, after, limit: LIMITS.page, ...pastFieldsOf(this.scope, at) });
    });
  }

  /** For each key with a prefix, the commit that wrote what is there: its turn, session, time and device. */
  blame(prefix = ""): AsyncGenerator<BlameItem, void> {
    const { client, agent } = this.scope;
    return allPages(({ after, at }) => {
      return client.request(agent, "kv.blame", { prefix, after, limit: LIMITS.page, ...pastFieldsOf(this.scope, at) });
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
  /**
   * What each commit from now on, or after `from`, changes of the keys with a prefix: in order, none missed, none
   * twice, until the loop is left. @throws invalid, when the branch does not have `from`
   */
  watch(prefix = "", options: WatchOptions = {}): AsyncGenerator<Change, void> {
    return watch(this.scope, prefix, options);
  }

  /**
   * A value of any size: a large one, a Blob or a stream travels in parts, and nobody sees it before all
   * of it is there. Leave the bytes of a large one alone until then. @throws conflict when `expect` does not hold, too_large, invalid
   */
  put(key: string, value: Content, options: PutOptions = {}): Promise<PutReply> {
    if (!isSmall(value)) return this.putUploaded(key, value, options);
    const { expect } = options;
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

  /** Several changes in one commit, all or none; values of any size. @throws conflict, too_large */
  async batch(changes: readonly BatchChange[], options: UploadOptions = {}): Promise<BatchReply> {
    const large = new Set<Content>();
    const ops = changes.map(({ expect, ...change }) => {
      const fields = { ...change, ...expectField(expect) };
      if (change.op === "delete") return fields;
      const { value } = change;
      checkContent(value);
      // A copy: what the caller does to its bytes while they wait must not change what is stored.
      if (isSmall(value)) return { ...fields, value: new Uint8Array(bytesOf(value)) };
      large.add(value);
      return { ...fields, value };
    });
    if (large.size > LIMITS.uploads) throw tooManyLarge(large.size);
    const fields = { ...fieldsOf(this.scope), id: newId() };
    const body = (uploads: ReadonlyMap<Content, { readonly upload: string }>): object => ({
      ops: ops.map((op) => {
        const uploaded = "value" in op ? uploads.get(op.value) : undefined;
        return uploaded === undefined ? op : { ...op, value: undefined, upload: uploaded.upload };
      }),
      ...fields,
    });
    checkRequest(agentRequests["kv.batch"], body(new Map([...large].map((value) => [value, { upload: "-" }]))));
    const keys = ops.map(({ key }) => key);
    return this.uploaded(keys, large, options, (uploads) => this.request("kv.batch", body(uploads)));
  }

  private async putUploaded(key: string, value: Content, { expect, ...options }: PutOptions): Promise<PutReply> {
    checkContent(value);
    const fields = { key, ...expectField(expect), ...fieldsOf(this.scope), id: newId() };
    checkRequest(agentRequests["kv.put"], { ...fields, upload: "-" });
    return this.uploaded([key], [value], options, (uploads) => {
      return this.request("kv.put", { ...fields, upload: uploads.get(value)?.upload });
    });
  }

  /** Makes one commit of values that are uploaded before it: meanwhile only these keys wait. */
  private uploaded<T>(
    keys: readonly string[],
    values: Iterable<Content>,
    options: UploadOptions,
    make: (uploads: ReadonlyMap<Content, { readonly upload: string }>) => Promise<T>,
  ): Promise<T> {
    const { kv, uploader } = this.scope;
    const sent = new Map<Content, Uploaded>();
    const sending = Array.from(values, async (value) => sent.set(value, await uploader.send(value, options)));
    const prepared = sending.length === 0 ? undefined : Promise.all(sending);
    return kv.alone(lineOf(this.scope), keys, "writes", () => uploader.commit(sent, make), prepared);
  }

  private request<Op extends "kv.put" | "kv.batch">(operation: Op, body: object): Promise<AgentReplies[Op]> {
    return this.scope.client.request(this.scope.agent, operation, body);
  }
}

function tooManyLarge(count: number): VlinderError {
  return new VlinderError("too_large", `a batch with ${count} large values`, {
    details: { limit: LIMITS.uploads },
    remedy: `put at most ${LIMITS.uploads} of more than ${LIMITS.valueBytes} bytes in one batch`,
  });
}

function toValue(reply: unknown): Value {
  return new Value(reply as GetReply);
}

/** Null means something here, and undefined nothing. */
function expectField(expect: Expect["expect"]): { expect?: string | null } {
  return expect === undefined ? {} : { expect };
}
