import type { NatsConnection } from "nats";
import { Child } from "../child.ts";
import { JetStream } from "./jetstream.ts";

/** A process that answers requests over NATS with so many bytes: the least that a request can cost. */
export class Echo {
  readonly #connection: NatsConnection;
  readonly #responder: Child;
  readonly #server: JetStream | null;

  private constructor(connection: NatsConnection, responder: Child, server: JetStream | null) {
    this.#connection = connection;
    this.#responder = responder;
    this.#server = server;
  }

  /** On a nats-server that is there. */
  static async beside({ connection, url }: JetStream): Promise<Echo> {
    return new Echo(connection, await Child.start("peers/echo-process.ts", [url]), null);
  }

  /** On a nats-server of its own, over an empty folder. */
  static async apart(folder: string): Promise<Echo> {
    const server = await JetStream.start("echo", folder, "default");
    return new Echo(server.connection, await Child.start("peers/echo-process.ts", [server.url]), server);
  }

  /** Sends so many bytes, and gets so many back. */
  async send(request: Uint8Array, replyBytes: number): Promise<void> {
    await this.#connection.request(`echo.${replyBytes}`, request, { timeout: 60_000 });
  }

  async stop(): Promise<void> {
    await this.#responder.stop();
    await this.#server?.stop();
  }
}
