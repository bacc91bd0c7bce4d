import {
  agentRequests,
  checkRequest,
  encodeVectorRecord,
  LIMITS,
  type ListItem,
  type ListReply,
  type Metadata,
  type PutReply,
  type SearchItem,
  type VectorFilter,
  type VectorReply,
} from "@vlinder/protocol";
import type { Expect, PageRequest } from "./kv.ts";
import { newId } from "./new-id.ts";
import { allPages } from "./pages.ts";
import { fieldsOf, lineOf, nullIfMissing, type Scope } from "./scope.ts";
import type { Kind } from "./waiting-line.ts";

export interface VectorOptions extends Expect {
  /** Plain JSON, at most 16 KiB; searches can filter on it. */
  readonly metadata?: Metadata;
  /** Name of the embedding model. */
  readonly model?: string;
}

export interface SearchOptions {
  /** How many; at most 1,000, default 10. */
  readonly limit?: number;
  /** Only keys that begin so. */
  readonly prefix?: string;
  /** Conditions on the metadata, which must all hold. */
  readonly filter?: VectorFilter;
}

/** The vectors of an agent at a state that may be in the past. */
export class VectorReader {
  protected readonly scope: Scope;

  constructor(scope: Scope) {
    this.scope = scope;
  }

  /** `null` when there is no such key. @throws VlinderError */
  get(key: string): Promise<VectorReply | null> {
    const { client, agent } = this.scope;
    const body = { key, ...fieldsOf(this.scope) };
    return this.send<VectorReply | null>([key], "reads", () => client.request(agent, "vector.get", body)).catch(
      nullIfMissing,
    );
  }

  /** All keys with a prefix, in the order of their UTF-8 bytes, from one state. */
  list(prefix = ""): AsyncGenerator<ListItem, void> {
    return allPages((position) => this.page({ prefix, limit: LIMITS.page, ...position }));
  }

  /** One page of keys; `next` is the `after` of the one behind it, or null. */
  page(request: PageRequest & { readonly at?: string } = {}): Promise<ListReply> {
    return this.scope.client.request(this.scope.agent, "vector.list", {
      ...request,
      ...fieldsOf(this.scope, request.at),
    });
  }

  /** The nearest vectors, nearest first. @throws invalid, for another dimension than the agent's */
  async search(vector: ArrayLike<number>, options: SearchOptions = {}): Promise<readonly SearchItem[]> {
    const { client, agent } = this.scope;
    const body = { vector: Float32Array.from(vector), limit: 10, ...options, ...fieldsOf(this.scope) };
    return (await this.send([], "reads", () => client.request(agent, "vector.search", body))).items;
  }

  protected send<T>(keys: readonly string[], kind: Kind, request: () => Promise<T>): Promise<T> {
    return this.scope.vectors.alone(lineOf(this.scope), keys, kind, request);
  }
}

/** The vectors of an agent on a branch. Every write is a commit of its own, durable when it is answered. */
export class Vectors extends VectorReader {
  /** @throws conflict when `expect` does not hold, invalid, too_large */
  async put(key: string, vector: ArrayLike<number>, options: VectorOptions = {}): Promise<PutReply> {
    const { client, agent } = this.scope;
    const { metadata = {}, model, expect } = options;
    const components = Float32Array.from(vector);
    // The record's own limits, as the daemon would find them.
    encodeVectorRecord({ vector: components, metadata, model: model ?? "" });
    const body = {
      key,
      // Copies, like a value's: the caller may go on with its own.
      vector: components,
      metadata: structuredClone(metadata),
      ...(model === undefined ? {} : { model }),
      ...(expect === undefined ? {} : { expect }),
      ...fieldsOf(this.scope),
      id: newId(),
    };
    checkRequest(agentRequests["vector.put"], body);
    return this.send([key], "writes", () => client.request(agent, "vector.put", body));
  }

  /** Whether there was something to delete. @throws conflict */
  async delete(key: string, { expect }: Expect = {}): Promise<boolean> {
    const { client, agent } = this.scope;
    const fields = expect === undefined ? {} : { expect };
    const body = { key, ...fields, ...fieldsOf(this.scope), id: newId() };
    checkRequest(agentRequests["vector.delete"], body);
    return (await this.send([key], "writes", () => client.request(agent, "vector.delete", body))).deleted;
  }
}
