import { readFile } from "node:fs/promises";
import { type AgentName, VlinderError } from "@vlinder/protocol";
import { connect, credsAuthenticator, ErrorCode, NatsError, type NatsConnection } from "nats";
import { type DaemonAddress, noDaemon } from "./find-daemon.ts";

/** One connection to NATS with the defaults that suit a long-lived agent. @throws unavailable, denied, not_registered */
export async function openConnection(
  address: DaemonAddress,
  agent: AgentName | null,
  name: string,
): Promise<NatsConnection> {
  const creds = address.creds === null ? null : await readCreds(address.creds, agent);
  try {
    return await connect({
      servers: address.url,
      name,
      // An agent outlives restarts of the daemon, however long they take.
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      reconnectJitter: 100,
      pingInterval: 20_000,
      timeout: 5_000,
      noAsyncTraces: true,
      ...(creds === null ? {} : { authenticator: credsAuthenticator(creds) }),
    });
  } catch (cause) {
    throw connectError(cause, address);
  }
}

async function readCreds(path: string, agent: AgentName | null): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    if (agent === null) {
      throw new VlinderError("denied", `the credentials ${path} can't be read`, {
        cause,
        remedy: "run this as the user who runs vlinderd, or set VLINDER_CREDS",
      });
    }
    throw new VlinderError("not_registered", `the agent "${agent}" has no credentials: ${path} can't be read`, {
      cause,
      details: { agent },
      remedy: "register it: vlinder agent add DIR",
    });
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
