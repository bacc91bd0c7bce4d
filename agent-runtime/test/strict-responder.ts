import {
  agentOfSubject,
  agentRequests,
  type AgentOperation,
  asBuffer,
  asVlinderError,
  checkRequest,
  decodeBody,
  encodeBody,
  ERROR_CODE_HEADER,
  ERROR_HEADER,
  isAllowedReply,
  keyText,
  LIMITS,
  type Key,
  PROGRESS_HEADER,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import { connect, headers, type Msg, type NatsConnection } from "nats";
import { StrictState } from "./strict-state.ts";
import { StrictTurns } from "./strict-turns.ts";

type Body = Record<string, unknown>;

/** What goes wrong with a message: it never arrives, is done but not answered, or is refused for now. */
export type Fault = "lost" | "unanswered" | "unavailable" | null;

export interface Received {
  readonly operation: string;
  readonly body: Body;
  readonly reply: string;
}

/**
 * Stands in for the daemon where a test needs one that misbehaves on cue: strict about what it is
 * sent (schemas, reply subjects, one key in one message at a time), with faults and delays as told.
 * It does what one id asks for once.
 */
export class StrictResponder {
  readonly received: Received[] = [];
  /** Rules of the protocol that the client broke; a test expects none. */
  readonly violations: string[] = [];
  readonly states = new Map<string, StrictState>();
  private readonly turns = new Map<string, StrictTurns>();
  fault: (operation: string) => Fault = () => null;
  /** Whether one operation of a pipeline is refused for now. */
  operationFault: () => boolean = () => false;
  /** Milliseconds between doing and answering. */
  delay: () => number = () => 0;
  /** Messages being worked on now, and the most there were. */
  open = 0;
  mostOpen = 0;
  /** Room for the values of one reply. */
  replyBytes: number = LIMITS.replyBytes;
  private readonly uploads = new Map<string, { readonly parts: Uint8Array[]; received: number; whole: boolean }>();
  private readonly replies = new Map<string, { readonly request: string; readonly reply: Body }>();
  private readonly onTheWay = new Map<string, number>();
  private readonly connection: NatsConnection;

  private constructor(connection: NatsConnection) {
    this.connection = connection;
    connection.subscribe("vlinder.v1.*.>", { callback: (_error, message) => this.receive(message) });
  }

  static async start(url: string): Promise<StrictResponder> {
    const connection = await connect({ servers: url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
    const responder = new StrictResponder(connection);
    await connection.flush();
    return responder;
  }

  async stop(): Promise<void> {
    await this.connection.close();
  }

  state(agent = "todo"): StrictState {
    const state = this.states.get(agent) ?? new StrictState();
    this.states.set(agent, state);
    return state;
  }

  private turnsOf(agent: string): StrictTurns {
    const turns = this.turns.get(agent) ?? new StrictTurns(this.state(agent));
    this.turns.set(agent, turns);
    return turns;
  }

  count(operation: string): number {
    return this.received.filter((message) => message.operation === operation).length;
  }

  publish(subject: string, body: object): void {
    this.connection.publish(subject, encodeBody(body, "msgpack"));
  }

  private receive(message: Msg): void {
    const agent = agentOfSubject(message.subject);
    const operation = message.subject.split(".").slice(3).join(".");
    if ((message.reply ?? "") === "") return;
    if (!isAllowedReply(message.reply as string, agent)) this.violations.push(`reply subject ${message.reply}`);
    const body = decodeBody(message.data);
    this.received.push({ operation, body, reply: message.reply as string });
    const fault = this.fault(operation);
    if (fault === "lost") return;
    const keys = this.claim(operation, body);
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    let reply: Body | null;
    try {
      if (fault === "unavailable") throw new VlinderError("unavailable", "not now");
      reply = this.perform(agent, operation as AgentOperation, body, message);
    } catch (error) {
      reply = { error: asVlinderError(error).toBody() };
    }
    setTimeout(() => {
      this.open--;
      for (const key of keys) this.onTheWay.set(key, (this.onTheWay.get(key) ?? 1) - 1);
      if (fault !== "unanswered" && reply !== null) this.answer(message, reply);
    }, this.delay());
  }

  private answer(message: Msg, reply: Body): void {
    const error = reply["error"] as { code: string; message: string } | undefined;
    const head = headers();
    if (error !== undefined) {
      head.set(ERROR_CODE_HEADER, error.code);
      head.set(ERROR_HEADER, error.message);
    }
    message.respond(encodeBody(reply, "msgpack"), error === undefined ? {} : { headers: head });
  }

  /** Notes the keys of a message until it is answered. */
  private claim(operation: string, body: Body): string[] {
    if (!["kv.put", "kv.get", "kv.delete", "kv.pipeline", "kv.batch"].includes(operation)) return [];
    const ops = (body["ops"] as Body[] | undefined) ?? [body];
    const keys = [
      ...new Set(ops.map((op) => `${JSON.stringify(op["at"] ?? op["branch"] ?? "main")} ${String(op["key"])}`)),
    ];
    for (const key of keys) {
      const others = this.onTheWay.get(key) ?? 0;
      // After a fault the same message comes again while its first copy is still counted.
      if (others > 0 && this.fault(operation) === null) this.violations.push(`${key} is in two messages at once`);
      this.onTheWay.set(key, others + 1);
    }
    return keys;
  }

  /** Null: it is answered when its turn has ended. */
  private perform(agent: string, operation: AgentOperation, body: Body, message: Msg): Body | null {
    if (!(operation in agentRequests)) throw new VlinderError("invalid", `unknown operation ${operation}`);
    const checked = checkRequest(agentRequests[operation], body) as Body;
    if (operation === "kv.pipeline") return this.pipeline(agent, checked["ops"] as Body[]);
    if (operation === "run") {
      const begun = this.turnsOf(agent).begin(checked, (reply) => this.answer(message, reply));
      this.publish(`vlinder.v1.${agent}.invoke`, { agent, ...begun });
      return null;
    }
    if (body["progress"] === true) this.progress(message);
    return this.once(agent, operation, checked);
  }

  private progress(message: Msg): void {
    for (const done of [1, 2, 3]) {
      const head = headers();
      head.set(PROGRESS_HEADER, "1");
      message.respond(encodeBody({ what: "reading", done, total: 3, unit: "objects" }, "msgpack"), { headers: head });
    }
  }

  private pipeline(agent: string, ops: Body[]): Body {
    let room = this.replyBytes;
    const results = ops.map((op) => {
      try {
        if (this.operationFault()) throw new VlinderError("unavailable", "its transaction failed");
        const ok = this.once(agent, `kv.${String(op["op"])}`, op);
        const size = (ok["value"] as Uint8Array | undefined)?.length ?? 0;
        if (size > room) throw new VlinderError("too_large", "does not fit in the reply");
        room -= size;
        return { ok };
      } catch (error) {
        return { error: asVlinderError(error).toBody() };
      }
    });
    return { results };
  }

  /** A restart: uploads are forgotten. */
  forgetUploads(): void {
    this.uploads.clear();
  }

  private takePart(agent: string, body: Body): Body {
    const { upload, offset, bytes, last, hash } = body as { [name: string]: never } & {
      bytes: Uint8Array;
      offset: number;
    };
    const name = `${agent} ${String(upload)}`;
    const known = this.uploads.get(name) ?? (offset === 0 ? { parts: [], received: 0, whole: false } : undefined);
    if (known === undefined) throw new VlinderError("not_found", "no upload", { details: { upload } });
    this.uploads.set(name, known);
    if (offset > known.received) {
      throw new VlinderError("conflict", "a gap", { details: { upload, received: known.received } });
    }
    if (offset === known.received && !known.whole) {
      known.parts.push(new Uint8Array(bytes));
      known.received += bytes.length;
    }
    if (last !== true) return { upload, received: known.received };
    known.whole = true;
    const whole = sha256(Buffer.concat(known.parts));
    if (hash !== undefined && hash !== whole) throw new VlinderError("invalid", "another hash");
    return { upload, received: known.received, hash: whole };
  }

  private valueOf(agent: string, { value, upload }: Body): Uint8Array {
    if (value instanceof Uint8Array) return new Uint8Array(value);
    const known = this.uploads.get(`${agent} ${String(upload)}`);
    if (known?.whole !== true) throw new VlinderError("not_found", "no upload", { details: { upload } });
    return Buffer.concat(known.parts);
  }

  /** The same id again gets the first reply; with another body, conflict. */
  private once(agent: string, operation: string, body: Body): Body {
    const id = body["id"];
    if (typeof id !== "string") return this.execute(agent, operation, body);
    const request = sha256(encodeBody({ ...body, operation }, "msgpack"));
    const known = this.replies.get(`${agent} ${id}`);
    if (known !== undefined) {
      if (known.request !== request) throw new VlinderError("conflict", "the id was used for something else");
      return known.reply;
    }
    const reply = this.execute(agent, operation, body);
    this.replies.set(`${agent} ${id}`, { request, reply });
    return reply;
  }

  private turn(agent: string, operation: string, body: Body): Body {
    const turns = this.turnsOf(agent);
    if (operation === "turn.begin") return turns.begin(body);
    if (operation === "turn.accept") return turns.accept(body);
    if (operation === "turn.complete") return turns.complete(body);
    if (operation === "turn.fail") return turns.fail(body);
    if (operation === "effect.begin") return turns.effects.begin(turns.first(body["turn"]), body);
    if (operation === "effect.end") return turns.effects.end(body);
    turns.required(body["turn"]);
    return {};
  }

  private execute(agent: string, operation: string, body: Body): Body {
    const state = this.state(agent);
    if (/^(turn|effect)\./.test(operation)) return this.turn(agent, operation, body);
    const branch =
      body["turn"] !== undefined ? this.turnsOf(agent).line(body["turn"]) : (body["branch"] as string | undefined);
    const view = state.at(body["at"] as string | undefined, branch);
    const key = typeof body["key"] === "string" ? keyText(body["key"] as Key) : "";
    const space = operation.startsWith("vector.") ? "vectors" : "kv";
    const hashOf = (bytes: Uint8Array): string => sha256(bytes);
    const expected = (of: Body): void => {
      const name = keyText(of["key"] as Key);
      const bytes = state.head(branch).kv.get(name);
      const now = bytes === undefined ? null : hashOf(bytes);
      if (of["expect"] !== undefined && of["expect"] !== now) throw new VlinderError("conflict", `${name} has changed`);
    };
    const missing = (): VlinderError => new VlinderError("not_found", `no key ${key}`, { details: { key } });
    switch (operation) {
      case "kv.put": {
        expected(body);
        const value = this.valueOf(agent, body);
        const commit = state.commit(operation, branch, { kv: new Map(view.kv).set(key, value) });
        return { state: commit.state, hash: hashOf(value) };
      }
      case "kv.get": {
        const value = view.kv.get(key);
        if (value === undefined) throw missing();
        if (value.length > LIMITS.valueBytes) {
          const details = { key, hash: hashOf(value), size: value.length, state: view.state };
          throw new VlinderError("too_large", "no reply holds it", { details });
        }
        return { value, hash: hashOf(value), size: value.length, state: view.state };
      }
      case "value.put":
        return this.takePart(agent, body);
      case "value.drop":
        return { dropped: this.uploads.delete(`${agent} ${String(body["upload"])}`) };
      case "value.get": {
        const value = view.kv.get(key);
        if (value === undefined) throw missing();
        const { offset = 0, length = LIMITS.valueBytes } = body as { offset?: number; length?: number };
        const bytes = value.subarray(offset, offset + length);
        return { bytes, offset, hash: hashOf(value), size: value.length, state: view.state };
      }
      case "kv.delete":
      case "vector.delete": {
        if (space === "kv") expected(body);
        const map = new Map<string, never>(view[space] as ReadonlyMap<string, never>);
        if (!map.delete(key)) return { state: view.state, deleted: false };
        return { state: state.commit(operation, branch, { [space]: map }).state, deleted: true };
      }
      case "kv.batch": {
        const kv = new Map(view.kv);
        const ops = body["ops"] as Body[];
        for (const op of ops) expected(op);
        const hashes = ops.map((op) => {
          const name = keyText(op["key"] as Key);
          if (op["op"] === "delete") return (kv.delete(name), null);
          kv.set(name, this.valueOf(agent, op));
          return hashOf(kv.get(name) as Uint8Array);
        });
        return { state: state.commit(operation, branch, { kv }).state, hashes };
      }
      case "kv.list":
      case "vector.list": {
        const {
          prefix = "",
          after = "",
          limit = LIMITS.defaultPage,
        } = body as { [name: string]: string } & { limit?: number };
        const order = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
        const names = [...view[space].keys()].filter((name) => name.startsWith(keyText(prefix as Key))).toSorted(order);
        const rest = after === "" ? names : names.filter((name) => order(name, keyText(after as Key)) > 0);
        const page = rest.slice(0, limit);
        const items = page.map((name) => {
          const bytes = space === "kv" ? (view.kv.get(name) as Uint8Array) : Buffer.from(name);
          return { key: name, hash: hashOf(bytes), size: bytes.length };
        });
        return { items, next: rest.length > page.length ? page.at(-1) : null, state: view.state };
      }
      case "kv.history": {
        const line = state.line(branch);
        const changes = line
          .filter((commit, i) => i > 0 && commit.kv.get(key) !== line[i - 1]?.kv.get(key))
          .toReversed();
        const start = changes.findIndex((commit) => commit.state === body["after"]) + 1;
        const page = changes.slice(start, start + ((body["limit"] as number | undefined) ?? LIMITS.defaultPage));
        const items = page.map((commit) => {
          const value = commit.kv.get(key);
          const what = { hash: value === undefined ? null : hashOf(value), size: value?.length ?? 0 };
          return { state: commit.state, time: null, event: commit.event, ...what };
        });
        const more = start + page.length < changes.length;
        return { items, next: more ? page.at(-1)?.state : null, state: view.state };
      }
      case "vector.put": {
        const { vector, metadata = {}, model = "" } = body as { vector: Float32Array; metadata?: Body; model?: string };
        const vectors = new Map(view.vectors).set(key, { vector: vector.slice(), metadata, model });
        return { state: state.commit(operation, branch, { vectors }).state, hash: hashOf(Buffer.from(key)) };
      }
      case "vector.get": {
        const record = view.vectors.get(key);
        if (record === undefined) throw missing();
        return { key, ...record, hash: hashOf(Buffer.from(key)), state: view.state };
      }
      case "vector.search": {
        const { vector, limit = 10, filter = {} } = body as { vector: Float32Array; limit?: number; filter?: Body };
        const prefix = keyText((body["prefix"] ?? "") as Key);
        const score = (other: Float32Array): number => other.reduce((sum, x, i) => sum + x * (vector[i] ?? 0), 0);
        const fits = (metadata: Body): boolean => Object.keys(filter).every((name) => metadata[name] === filter[name]);
        const found = [...view.vectors].filter(([name, { metadata }]) => name.startsWith(prefix) && fits(metadata));
        const items = found.map(([name, record]) => {
          return { key: name, score: score(record.vector), metadata: record.metadata, hash: hashOf(Buffer.from(name)) };
        });
        return { items: items.toSorted((a, b) => b.score - a.score).slice(0, limit), state: view.state };
      }
      case "timeline.fork": {
        state.fork(String(body["name"]), view);
        return { branch: sha256(String(body["name"])), name: body["name"], state: view.state };
      }
      case "service.infer":
        throw new VlinderError("not_declared", "this agent declares no models");
      case "timeline.verify":
        return { ok: true, damage: [] };
      default:
        throw new VlinderError("unavailable", `${operation} is not played here`, { retryable: false });
    }
  }
}

/** The bytes of a value as text, for assertions. */
export function asText(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : asBuffer(bytes).toString("utf8");
}
