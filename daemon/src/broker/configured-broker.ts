import { credsAuthenticator, type NatsConnection } from "nats";
import { readFile } from "node:fs/promises";
import type { Logger } from "pino";
import { type AgentName, VlinderError } from "@vlinder/protocol";
import type { Broker } from "./api.ts";
import { logStatus, openConnection } from "./connection.ts";
import { DAEMON_INBOX } from "./permissions.ts";

const REMEDY = "docs/nats.md shows how to set up vlinder's users on a nats-server of your own";

export interface ConfiguredBrokerOptions {
  readonly url: string;
  /** Path of the daemon's credentials; null: the server asks for none. */
  readonly creds: string | null;
  readonly log: Logger;
}

/** The nats-server at `[nats] url`: somebody else runs it and says who may do what. */
export async function connectConfiguredBroker(options: ConfiguredBrokerOptions): Promise<Broker> {
  const { creds, log, url } = options;
  const connection = await openConnection({
    url,
    name: "vlinderd",
    authenticator: creds === null ? null : credsAuthenticator(await readCreds(creds)),
    inboxPrefix: DAEMON_INBOX,
    remedy: `see [nats] url and creds in config.toml; ${REMEDY}`,
  });
  void logStatus(connection, log);
  log.info({ url, version: connection.info?.version }, "connected to the configured nats-server");
  return new ConfiguredBroker(url, creds ?? "", connection, log);
}

async function readCreds(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause: unknown) => {
    throw new VlinderError("unavailable", `the credentials file ${file} can't be read`, {
      cause,
      remedy: `see [nats] creds in config.toml; ${REMEDY}`,
      retryable: false,
    });
  });
}

class ConfiguredBroker implements Broker {
  readonly own = false;
  readonly url: string;
  readonly adminCreds: string;
  readonly connection: NatsConnection;
  readonly #log: Logger;

  constructor(url: string, adminCreds: string, connection: NatsConnection, log: Logger) {
    this.url = url;
    this.adminCreds = adminCreds;
    this.connection = connection;
    this.#log = log;
  }

  get serverVersion(): string {
    return this.connection.info?.version ?? "";
  }

  async agentCreds(agent: AgentName): Promise<string> {
    throw new VlinderError(
      "unavailable",
      `the daemon does not run this nats-server and can't make credentials for ${agent}`,
      {
        remedy: REMEDY,
        retryable: false,
      },
    );
  }

  async revokeAgent(agent: AgentName): Promise<void> {
    this.#log.warn({ agent }, `the credentials of a removed agent are to be revoked on your nats-server; ${REMEDY}`);
  }

  async stop(): Promise<void> {
    await this.connection.close();
  }
}
