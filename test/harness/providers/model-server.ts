import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { send, replaced, type Fault } from "./fault.ts";
import { hearBody } from "./sent-body.ts";
import { Refusal, type Provider, type Received, type Reply } from "./provider.ts";

/**
 * A server on 127.0.0.1 that speaks a provider's HTTP protocol, strictly: path and method, content type, key
 * and body are checked as the provider documents them, and refused in its own words. A request that is in
 * order takes the next of the faults that a test asked for.
 *
 * Nothing goes by in silence: `settle` fails when a request was refused that the test did not take note of,
 * when a fault was not used, or when the server itself failed.
 */
export class ModelServer {
  readonly provider: Provider;
  /** All that arrived since the last `settle`, refused ones too. */
  readonly requests: Received[] = [];
  readonly #server: Server;
  #faults: Fault[] = [];
  #refusals: string[] = [];
  #failures: unknown[] = [];

  private constructor(provider: Provider) {
    this.provider = provider;
    this.#server = createServer((incoming, response) => {
      this.#serve(incoming, response).catch((error: unknown) => {
        this.#failures.push(error);
        response.destroy();
      });
    });
  }

  static async start(provider: Provider): Promise<ModelServer> {
    const server = new ModelServer(provider);
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject);
      server.#server.listen(0, "127.0.0.1", resolve);
    });
    return server;
  }

  /** `http://127.0.0.1:PORT`, without a path. */
  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What happens to the next requests that are in order, one fault for each. */
  inject(...faults: Fault[]): void {
    this.#faults.push(...faults);
  }

  /** The messages of the requests that were refused, which `settle` then forgives. */
  takeRefusals(): string[] {
    return this.#refusals.splice(0);
  }

  /** The only request that arrived. */
  get request(): Received {
    const [first, ...more] = this.requests;
    if (first === undefined || more.length > 0) throw new Error(`${this.requests.length} requests arrived, not one`);
    return first;
  }

  /** Ends a test. @throws when something happened that it did not expect, or did not happen */
  settle(): void {
    const [faults, refusals, failures] = [this.#faults, this.#refusals, this.#failures];
    this.requests.length = 0;
    this.#faults = [];
    this.#refusals = [];
    this.#failures = [];
    if (failures.length > 0) throw new AggregateError(failures, `the ${this.provider.name} server failed`);
    if (refusals.length > 0) throw new Error(`refused by the ${this.provider.name} server: ${refusals.join("; ")}`);
    if (faults.length > 0) throw new Error(`faults that no request took: ${JSON.stringify(faults)}`);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const url = new URL(incoming.url ?? "/", this.origin);
    const received: Received = {
      method: incoming.method ?? "",
      path: url.pathname,
      query: url.search,
      headers: incoming.headers,
      body: Buffer.concat(chunks).toString(),
      sent: Buffer.alloc(0),
      aborted: false,
    };
    this.requests.push(received);
    hearBody(response, (piece) => (received.sent = Buffer.concat([received.sent, piece])));
    let cut = false;
    response.once("close", () => (received.aborted = !response.writableFinished && !cut));
    const right = this.#answer(received);
    if (right instanceof Refusal) {
      this.#refusals.push(right.message);
      return await send(response, this.provider.refuse(right.problem, received.path), null);
    }
    const fault = this.#faults.shift() ?? null;
    cut = fault?.kind === "cut";
    const reply = fault === null ? right : replaced(this.provider, received.path, right, fault);
    await send(response, reply, fault);
  }

  #answer(received: Received): Reply | Refusal {
    const { provider } = this;
    try {
      const route = provider.routes[`${received.method} ${received.path}`];
      if (route === undefined) {
        const known = Object.keys(provider.routes).some((one) => one.endsWith(` ${received.path}`));
        throw new Refusal(provider.unknownRoute(received, known));
      }
      provider.authorize(received);
      if (received.method === "POST") {
        const type = (received.headers["content-type"] ?? "").split(";")[0]?.trim();
        if (type !== "application/json") throw new Refusal(provider.wrongContentType(received));
      }
      return route(received);
    } catch (error) {
      if (error instanceof Refusal) return error;
      throw error;
    }
  }
}
