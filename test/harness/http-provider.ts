import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request as it came. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** Answers a request; what it throws breaks the connection. */
export type Answering = (response: ServerResponse, seen: Seen) => void | Promise<void>;

/** A plain HTTP server on this machine that says what a test tells it to, and keeps what it was asked. */
export class HttpProvider {
  readonly seen: Seen[] = [];
  /** How many answers were given up by the other side. */
  abandoned = 0;
  answering: Answering = (response) => void response.end("{}");
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => void this.#take(request, response));
  }

  static async start(): Promise<HttpProvider> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new HttpProvider(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get last(): Seen {
    const seen = this.seen.at(-1);
    if (seen === undefined) throw new Error("nothing was asked");
    return seen;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("close", () => {
      if (!response.writableFinished) this.abandoned++;
    });
    try {
      let body = "";
      for await (const chunk of request) body += (chunk as Buffer).toString("utf8");
      const { method = "", url = "", headers } = request;
      const seen = { method, url, headers, body };
      this.seen.push(seen);
      await this.answering(response, seen);
    } catch {
      response.destroy();
    }
  }
}

/** Answers with a document. */
export function json(document: object, status = 200, headers: Record<string, string> = {}): Answering {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(document));
  };
}
