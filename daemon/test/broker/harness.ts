import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { connect, credsAuthenticator, type NatsConnection } from "nats";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import type { BrokerOptions } from "../../src/broker/broker.ts";
import { type OwnBroker, startOwnBroker } from "../../src/broker/own-broker.ts";
import { type Permissions, type Role, ROLES } from "../../src/broker/permissions.ts";

export const quiet = pino({ level: "silent" });

/** A home that is gone after the test. */
export async function newHome(): Promise<string> {
  const home = await mkdtemp(path.join(os.tmpdir(), "vlinder-broker-"));
  onTestFinished(() => rm(home, { recursive: true, force: true, maxRetries: 3 }));
  return home;
}

export function options(home: string, more: Partial<BrokerOptions> = {}): BrokerOptions {
  return { home, url: null, creds: null, port: 0, log: quiet, ...more };
}

/** A broker that is stopped after the test; `wider` changes what a role may do. */
export async function newBroker(home: string, wider: Partial<Record<Role, Permissions>> = {}): Promise<OwnBroker> {
  const broker = await startOwnBroker({ home, port: 0, log: quiet, roles: { ...ROLES, ...wider } });
  onTestFinished(() => broker.stop());
  return broker;
}

/** A client with a credentials file, closed after the test. */
export async function newClient(url: string, creds: string | null, inbox?: string): Promise<NatsConnection> {
  const client = await connect({
    servers: url,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    ...(creds === null ? {} : { authenticator: credsAuthenticator(await readFile(creds)) }),
    ...(inbox === undefined ? {} : { inboxPrefix: inbox }),
  });
  onTestFinished(() => client.close());
  return client;
}

/** Whether `receiver`, subscribed to `pattern`, gets what `sender` publishes on `subject`. */
export async function reaches(
  sender: NatsConnection,
  subject: string,
  receiver: NatsConnection,
  pattern: string,
): Promise<boolean> {
  let got = false;
  const subscription = receiver.subscribe(pattern, { callback: (error) => (got ||= error === null) });
  await receiver.flush();
  sender.publish(subject, "hello");
  // The server has handled what came before this answer; the second one delivers what it passed on.
  await sender.flush();
  await receiver.flush();
  subscription.unsubscribe();
  return got;
}
