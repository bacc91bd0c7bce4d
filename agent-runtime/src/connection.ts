import { type AgentName, VlinderError } from "@vlinder/protocol";
import { connect, ErrorCode, NatsError } from "nats";
import { authenticatorOf } from "./authenticator.ts";
import { readCredentials } from "./credentials.ts";
import { type DaemonAddress, noDaemon } from "./find-daemon.ts";
import { Mux } from "./mux.ts";

/**
 * One connection to NATS with the defaults that suit a long-lived agent, and its mux. Replies come to
 * the inbox that the credentials may use: the agent's own, or the administrator's.
 * @throws unavailable, denied, not_registered
 */
export async function openConnection(address: DaemonAddress, agent: AgentName | null, name: string): Promise<Mux> {
  const credentials = address.creds === null ? null : await readCredentials(address.creds, agent);
  try {
    const connection = await connect({
      servers: address.url,
      name,
      // An agent outlives restarts of the daemon, however long they take.
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      reconnectJitter: 100,
      pingInterval: 20_000,
      timeout: 5_000,
      noAsyncTraces: true,
      ...(credentials === null ? {} : { authenticator: authenticatorOf(credentials.bytes) }),
    });
    return new Mux(connection, `_INBOX.${credentials?.owner ?? agent ?? "admin"}`);
  } catch (cause) {
    throw connectError(cause, address);
  }
}

function connectError(cause: unknown, address: DaemonAddress): VlinderError {
  const code = cause instanceof NatsError ? cause.code : "";
  if (code === ErrorCode.AuthorizationViolation || code === ErrorCode.AuthenticationExpired) {
    return new VlinderError("denied", `${address.url} refused the credentials${shown(address.creds)}`, {
      cause,
      remedy: "they may have been revoked: register the agent again, or set VLINDER_CREDS",
    });
  }
  return noDaemon(`no daemon is reached at ${address.url}`, cause);
}

function shown(creds: string | null): string {
  return creds === null ? ": none were given" : ` of ${creds}`;
}
