import { type Authenticator, connect, ErrorCode, Events, type NatsConnection, NatsError } from "nats";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { VlinderError } from "@vlinder/protocol";

const FIRST_CONNECT_MS = 10_000;

export interface ConnectionSetup {
  readonly url: string;
  readonly name: string;
  readonly authenticator: Authenticator | null;
  readonly inboxPrefix: string;
  readonly remedy: string;
}

/**
 * Connects, and keeps connected for as long as the daemon runs: nats.js gives up after ten attempts
 * and notices a dead peer after minutes, unless it is told otherwise. The first connection is tried
 * for ten seconds only, instead of for ever with `waitOnFirstConnect`: a start must end, one way or the other.
 *
 * @throws unavailable; denied when the server refuses the credentials
 */
export async function openConnection(setup: ConnectionSetup): Promise<NatsConnection> {
  for (const until = Date.now() + FIRST_CONNECT_MS; ; await sleep(100)) {
    try {
      return await connect({
        servers: setup.url,
        name: setup.name,
        inboxPrefix: setup.inboxPrefix,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 250,
        pingInterval: 20_000,
        noAsyncTraces: true,
        // While a server starts, it may not know the account yet; that passes.
        ignoreAuthErrorAbort: true,
        ...(setup.authenticator === null ? {} : { authenticator: setup.authenticator }),
      });
    } catch (cause) {
      const refused = cause instanceof NatsError && cause.code === ErrorCode.AuthorizationViolation;
      if (!refused && Date.now() < until) continue;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new VlinderError(refused ? "denied" : "unavailable", `no connection to NATS at ${setup.url}: ${why}`, {
        cause,
        remedy: setup.remedy,
        retryable: false,
      });
    }
  }
}

/** Tells the log about lost and regained connections, and what the server refused. Ends with the connection. */
export async function logStatus(connection: NatsConnection, log: Logger): Promise<void> {
  for await (const status of connection.status()) {
    if (status.type === Events.Disconnect) log.warn("the connection to NATS is lost");
    else if (status.type === Events.Reconnect) log.info("connected to NATS again");
    else if (status.type === Events.Error) log.error({ nats: status.data }, "NATS refused something");
  }
}
