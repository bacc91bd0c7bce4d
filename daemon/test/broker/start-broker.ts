/** A daemon that is nothing but a broker, for the tests to kill: prints its server's pid and url, and waits. */
import { pino } from "pino";
import { startOwnBroker } from "../../src/broker/own-broker.ts";
import { ROLES } from "../../src/broker/permissions.ts";

const home = process.argv[2];
if (home === undefined) throw new Error("usage: start-broker.ts HOME");
const broker = await startOwnBroker({ home, port: 0, log: pino({ level: "silent" }), roles: ROLES });
process.stdout.write(`${JSON.stringify({ pid: broker.serverPid, url: broker.url })}\n`);
