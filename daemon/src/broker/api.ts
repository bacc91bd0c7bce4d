import type { NatsConnection } from "nats";
import type { Logger } from "pino";
import type { AgentName } from "@vlinder/protocol";

export interface BrokerOptions {
  /** `$VLINDER_HOME`, absolute. The caller holds its lock: a nats-server recorded there is ended. */
  readonly home: string;
  /** `[nats] url`; null: a nats-server of the daemon's own is started. */
  readonly url: string | null;
  /** Credentials file for the server at `url`. */
  readonly creds: string | null;
  /** For the own server; a free one is taken when it is not free, or 0. */
  readonly port: number;
  readonly log: Logger;
}

/** The daemon's side of NATS: a server, the daemon's connection to it, and who else may connect. */
export interface Broker {
  readonly url: string;
  /** Whether the daemon runs the server, and so makes the credentials. */
  readonly own: boolean;
  readonly connection: NatsConnection;
  readonly serverVersion: string;
  /** Path of the administrator's credentials; empty when the configured server asks for none. */
  readonly adminCreds: string;
  /**
   * Path of the agent's credentials, which are made when there are none that are valid.
   * @throws unavailable on a configured server
   */
  agentCreds(agent: AgentName): Promise<string>;
  /**
   * Deletes the agent's credentials; connections with them are closed and new ones refused, nobody
   * else is disturbed. On a configured server it only says in the log what is to be done.
   *
   * @throws unavailable when the server could not be told: it will know after its next start
   */
  revokeAgent(agent: AgentName): Promise<void>;
  /** Closes the connection and stops the own server. Twice is fine. */
  stop(): Promise<void>;
}
