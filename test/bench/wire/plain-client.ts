import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AgentName,
  agentSubject,
  type DaemonFile,
  decodeBody,
  encodeBody,
  ERROR_HEADER,
  type GetReply,
} from "@vlinder/protocol";
import { connect, credsAuthenticator, type NatsConnection } from "nats";

/** A NATS connection with an agent's credentials and nothing of ours. */
export async function connectAs(home: string, agent: string): Promise<NatsConnection> {
  const { url } = JSON.parse(await readFile(join(home, "run", "daemon.json"), "utf8")) as DaemonFile;
  return await connect({
    servers: url,
    authenticator: credsAuthenticator(await readFile(join(home, "creds", "agents", `${agent}.creds`))),
    inboxPrefix: `_INBOX.${agent}`,
    noAsyncTraces: true,
  });
}

/** What a client without the SDK does: one message an operation. */
export class PlainClient {
  readonly connection: NatsConnection;
  readonly #put: string;
  readonly #get: string;

  constructor(connection: NatsConnection, agent: string) {
    this.connection = connection;
    this.#put = agentSubject(agent as AgentName, "kv.put");
    this.#get = agentSubject(agent as AgentName, "kv.get");
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    await this.#request(this.#put, { key, value });
  }

  async get(key: string): Promise<GetReply> {
    return (await this.#request(this.#get, { key })) as unknown as GetReply;
  }

  async #request(subject: string, body: object): Promise<object> {
    const message = await this.connection.request(subject, encodeBody(body, "msgpack"), { timeout: 60_000 });
    const error = message.headers?.get(ERROR_HEADER);
    if (error) throw new Error(error);
    return decodeBody(message.data);
  }
}
