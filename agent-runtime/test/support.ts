import { parseAgentName } from "@vlinder/protocol";
import { Client, type ConnectOptions, Vlinder } from "../src/index.ts";
import { type NatsServer, startNats } from "./nats-server.ts";
import { StrictResponder } from "./strict-responder.ts";

export const TODO = parseAgentName("todo");

/** A server, a responder and an agent's connection; all are gone when the scope is left. */
export class Stage implements AsyncDisposable {
  readonly server: NatsServer;
  readonly responder: StrictResponder;
  readonly vlinder: Vlinder;

  private constructor(server: NatsServer, responder: StrictResponder, vlinder: Vlinder) {
    this.server = server;
    this.responder = responder;
    this.vlinder = vlinder;
  }

  static async open(options: ConnectOptions = {}): Promise<Stage> {
    const server = await startNats();
    const responder = await StrictResponder.start(server.url);
    const client = await Client.connect({ agent: TODO, url: server.url, ...options });
    return new Stage(server, responder, new Vlinder(client, TODO));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vlinder.close();
    await this.responder.stop();
    await this.server.stop();
  }
}

export async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}
