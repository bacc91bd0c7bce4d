import type { NatsConnection } from "nats";
import { rm } from "node:fs/promises";
import path from "node:path";
import type { Logger } from "pino";
import { type AgentName, parseAgentName } from "@vlinder/protocol";
import { updateAccount } from "./account-update.ts";
import type { Broker } from "./api.ts";
import { accountClaims, operatorClaims, systemClaims, userClaims } from "./claims.ts";
import { logStatus, openConnection } from "./connection.ts";
import { Credentials } from "./credentials.ts";
import { newUser, userAuthenticator } from "./key-pair.ts";
import { type Keys, loadKeys } from "./keys.ts";
import { DAEMON_INBOX, type Roles } from "./permissions.ts";
import { makePrivateFolder, writePrivateFile } from "./private-file.ts";
import { ProcessRecord } from "./process-record.ts";
import { renderServerConfig } from "./server-config.ts";
import { ServerProcess } from "./server-process.ts";
import { findServerProgram } from "./server-program.ts";
import { Users } from "./users.ts";

export interface OwnBrokerOptions {
  readonly home: string;
  readonly port: number;
  readonly log: Logger;
  /** What the users may do; the tests widen it, to see each attack succeed where nothing stops it. */
  readonly roles: Roles;
}

/** A nats-server of the daemon's own, in operator mode, and the users that it knows. */
export async function startOwnBroker(options: OwnBrokerOptions): Promise<OwnBroker> {
  const { home, log, port, roles } = options;
  const program = await findServerProgram(process.env);
  const nats = path.join(home, "nats");
  const creds = path.join(home, "creds");
  for (const folder of [home, nats, path.join(nats, "accounts"), creds, path.join(creds, "agents")]) {
    await makePrivateFolder(folder);
  }
  const keys = await loadKeys(path.join(nats, "keys"));
  const users = await Users.load(path.join(nats, "users.json"));
  const credentials = new Credentials(keys, users, log);
  const adminCreds = path.join(creds, "admin.creds");
  await credentials.ensure("admin", "admin", adminCreds);

  const server = await ServerProcess.start({
    program: program.file,
    port,
    ports: path.join(nats, "ports"),
    record: new ProcessRecord(home),
    log,
    prepare: async (port) => writeServerFiles(nats, keys, await accountClaims(keys, roles, users.revoked), port),
  });
  try {
    const connection = await connectDaemon(server.url, keys);
    void logStatus(connection, log);
    log.info({ url: server.url, pid: server.pid, version: program.version }, "nats-server runs");
    return new OwnBroker({ server, connection, keys, users, credentials, roles, adminCreds });
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** At every start, also after a crash of the server: so it always knows who is revoked. */
async function writeServerFiles(nats: string, keys: Keys, account: string, port: number): Promise<string> {
  const accounts = path.join(nats, "accounts");
  await writePrivateFile(path.join(accounts, `${keys.account.getPublicKey()}.jwt`), account);
  const config = path.join(nats, "server.conf");
  const text = renderServerConfig({
    port,
    operator: await operatorClaims(keys),
    systemAccount: keys.system.getPublicKey(),
    systemClaims: await systemClaims(keys),
    accounts,
    ports: path.join(nats, "ports"),
    log: path.join(nats, "nats-server.log"),
  });
  await writePrivateFile(config, text);
  return config;
}

/** The daemon's own credentials are made for this run and are never on disk. */
async function connectDaemon(url: string, keys: Keys): Promise<NatsConnection> {
  const user = newUser();
  return openConnection({
    url,
    name: "vlinderd",
    authenticator: userAuthenticator(await userClaims(keys, "daemon", "vlinderd", user), user),
    inboxPrefix: DAEMON_INBOX,
    remedy: "look into nats-server.log in $VLINDER_HOME/nats",
  });
}

interface Parts {
  readonly server: ServerProcess;
  readonly connection: NatsConnection;
  readonly keys: Keys;
  readonly users: Users;
  readonly credentials: Credentials;
  readonly roles: Roles;
  readonly adminCreds: string;
}

export class OwnBroker implements Broker {
  readonly own = true;
  readonly #parts: Parts;
  /** Changes of the users one after the other: each reads what the one before has written. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get url(): string {
    return this.#parts.server.url;
  }

  get connection(): NatsConnection {
    return this.#parts.connection;
  }

  get serverVersion(): string {
    return this.#parts.connection.info?.version ?? "";
  }

  get serverPid(): number | null {
    return this.#parts.server.pid;
  }

  get adminCreds(): string {
    return this.#parts.adminCreds;
  }

  agentCreds(agent: AgentName): Promise<string> {
    return this.#inTurn(async () => {
      const file = this.#agentFile(agent);
      await this.#parts.credentials.ensure("agent", agent, file);
      return file;
    });
  }

  revokeAgent(agent: AgentName): Promise<void> {
    return this.#inTurn(async () => {
      await rm(this.#agentFile(agent), { force: true });
      const { keys, roles, server, users } = this.#parts;
      // Should this fail, the users are revoked on disk, and the server's next start knows it.
      if (await users.revoke(agent))
        await updateAccount(server.url, keys, await accountClaims(keys, roles, users.revoked));
    });
  }

  async stop(): Promise<void> {
    await this.#last;
    await this.#parts.connection.close();
    await this.#parts.server.stop();
  }

  /** Parses the name again, whatever the types say: here it becomes a permission. */
  #agentFile(agent: AgentName): string {
    return path.join(path.dirname(this.#parts.adminCreds), "agents", `${parseAgentName(agent)}.creds`);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined); // the caller has the rejection; the next in turn goes on
    return result;
  }
}
