import type { Broker, BrokerOptions } from "./api.ts";
import { connectConfiguredBroker } from "./configured-broker.ts";
import { startOwnBroker } from "./own-broker.ts";
import { ROLES } from "./permissions.ts";

export type { Broker, BrokerOptions } from "./api.ts";

/**
 * @throws unavailable: no nats-server was found, it does not start, or the configured one can't be
 * reached; denied: the configured one refuses the credentials
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { creds, home, log, port, url } = options;
  if (url !== null) return connectConfiguredBroker({ url, creds, log });
  return startOwnBroker({ home, port, log, roles: ROLES });
}
