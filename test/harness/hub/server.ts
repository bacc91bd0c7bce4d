import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { BucketFiles } from "./bucket-files.ts";
import { type Call, json, type Reply, type Route } from "./call.ts";
import { Cas } from "./cas.ts";
import { corrupted, type Fault, Faults } from "./faults.ts";
import { type HubManners, HubRoutes } from "./hub-routes.ts";
import { RequestLog } from "./request-log.ts";
import { Refusal } from "./refusal.ts";
import { type HubUser, Tokens } from "./tokens.ts";

export interface HubServerOptions {
  /** Tokens that it knows: `hf_…` → whose. */
  readonly people?: Readonly<Record<string, HubUser>>;
  /** Where xorbs are kept; without it, in memory. */
  readonly folder?: string;
  /** Seconds. The client asks for another token a minute before the end of one. */
  readonly xetTokenLife?: number;
  readonly signedUrlLife?: number;
  readonly manners?: Partial<HubManners>;
  readonly port?: number;
}

/**
 * A Hugging Face Hub with buckets and its Xet CAS, on 127.0.0.1: the protocol that `@huggingface/hub` speaks, checked
 * to the byte. A request that the Hub would refuse is refused, and kept in the log with the reason.
 */
export class HubServer {
  readonly log = new RequestLog();
  readonly faults = new Faults();
  readonly tokens: Tokens;
  readonly cas: Cas;
  readonly manners: HubManners;
  readonly #hub: HubRoutes;
  readonly #routes: readonly Route[];
  readonly #server: Server;
  /** Bytes of a connection that are counted already. */
  readonly #counted = new WeakMap<Socket, { read: number; written: number }>();
  /** Faults of the server itself. */
  readonly failures: unknown[] = [];

  private constructor(options: HubServerOptions) {
    this.tokens = new Tokens(options.xetTokenLife ?? 900);
    for (const [token, user] of Object.entries(options.people ?? {})) this.tokens.people.set(token, user);
    this.manners = { page: 1000, listLag: 0, infoLag: 0, missingDelete: "fail", ...options.manners };
    this.cas = new Cas({
      tokens: this.tokens,
      folder: options.folder,
      url: () => `${this.url}/cas`,
      signedUrlLife: options.signedUrlLife ?? 900,
    });
    const { cas, manners, tokens } = this;
    this.#hub = new HubRoutes({ cas, manners, tokens, url: () => this.url });
    this.#routes = [...this.#hub.routes, ...this.cas.routes];
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        this.failures.push(error);
        response.destroy();
      });
    });
  }

  static async start(options: HubServerOptions = {}): Promise<HubServer> {
    const server = new HubServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject);
      server.#server.listen(options.port ?? 0, "127.0.0.1", resolve);
    });
    return server;
  }

  /** `http://127.0.0.1:PORT`: what HF_ENDPOINT is set to. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** `OWNER/NAME` → what is in it, for tests to look at and to change behind the client's back. */
  get buckets(): Map<string, BucketFiles> {
    return this.#hub.buckets;
  }

  /** Puts a file into a bucket behind every client's back. */
  seed(bucket: string, path: string, bytes: Buffer): void {
    const { hash, size } = this.cas.seed(bytes);
    this.buckets.get(bucket)?.change([{ type: "addFile", path, xetHash: hash, size }]);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = "", search = ""] = (request.url ?? "").split(/\?(.*)/s);
    const method = request.method ?? "";
    const route = this.#routes.find((one) => one.method === method && one.path.test(path));
    const name = route?.name ?? "unknown";
    let note = "";
    response.once("close", () => {
      const status = response.writableFinished ? response.statusCode : 0;
      this.log.add({ route: name, method, path, status, note, ...this.#bytes(request.socket) });
    });
    const body = await readBody(request);
    const params = (route?.path.exec(path) ?? []).slice(1);
    const call = { method, path, query: new URLSearchParams(search), headers: request.headers, body, params };
    const fault = this.faults.take(name);
    if (fault !== undefined) note = `fault: ${fault.kind}`;
    const reply = await this.#reply(route, call, fault);
    if (reply === "none") return;
    if (reply === "drop") {
      response.destroy();
      return;
    }
    if (reply.status >= 400 && note === "") note = messageOf(reply);
    send(response, reply, fault?.kind === "truncate");
  }

  async #reply(route: Route | undefined, call: Call, fault: Fault | undefined): Promise<Reply | "none" | "drop"> {
    switch (fault?.kind) {
      case "status":
        return json(fault.body ?? { error: `injected ${fault.status}` }, fault.headers, fault.status);
      case "drop":
        return "drop";
      case "hang":
        return "none";
      case "slow":
        await sleep(fault.ms);
        return carryOut(route, call);
      case "meanwhile":
        await fault.run();
        return carryOut(route, call);
      case "lost":
        carryOut(route, call);
        return "drop";
      case "corrupt":
        return corrupted(carryOut(route, call));
      default:
        return carryOut(route, call);
    }
  }

  #bytes(socket: Socket): { up: number; down: number } {
    const before = this.#counted.get(socket) ?? { read: 0, written: 0 };
    const now = { read: socket.bytesRead, written: socket.bytesWritten };
    this.#counted.set(socket, now);
    return { up: now.read - before.read, down: now.written - before.written };
  }
}

function carryOut(route: Route | undefined, call: Call): Reply {
  try {
    if (route === undefined) throw new Refusal(404, `no route ${call.method} ${call.path}`);
    return route.handle(call);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return json({ error: error.message }, error.headers, error.status);
  }
}

function send(response: ServerResponse, { status, headers, body }: Reply, isCut: boolean): void {
  const bytes = Buffer.from(body ?? "");
  response.writeHead(status, { ...headers, "Content-Length": bytes.length, "X-Request-Id": "test" });
  if (!isCut) {
    response.end(bytes);
    return;
  }
  response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
}

function messageOf({ body }: Reply): string {
  const { error } = JSON.parse(Buffer.from(body ?? "{}").toString()) as { error?: unknown };
  return typeof error === "string" ? error : "";
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
