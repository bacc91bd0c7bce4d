import { setTimeout as sleep } from "node:timers/promises";
import { ADMIN_OPERATIONS, AGENT_OPERATIONS, decodeBody } from "@vlinder/protocol";
import type { NatsConnection, ServiceMsg } from "nats";
import pino from "pino";
import { expect, test } from "vitest";
import { Outbox } from "../../src/endpoints/outbox.ts";
import { type AdminHandlers, type AgentHandlers, EndpointService } from "../../src/endpoints/service.ts";

type Deliver = (error: null, message: ServiceMsg) => void;

/** A service on a connection that delivers what a test asks, and keeps the codes of what is answered ("" for a reply that is none). */
class Desk {
  readonly answers: string[] = [];
  isClosed = false;
  readonly #endpoints = new Map<string, Deliver>();

  readonly connection = {
    services: {
      add: async () => ({
        addEndpoint: (_name: string, { subject, handler }: { subject: string; handler: Deliver }) => {
          this.#endpoints.set(subject, handler);
        },
        stop: async () => {},
      }),
    },
    flush: async () => {},
  } as unknown as NatsConnection;

  ask(subject: string, pattern: string, body: object = {}): void {
    const respond = (bytes: Uint8Array): void => {
      if (this.isClosed) throw new Error("CONNECTION_CLOSED");
      const { error } = decodeBody(bytes) as { error?: { code: string } };
      this.answers.push(error?.code ?? "");
    };
    const message = { subject, reply: "_INBOX.admin.x", data: Buffer.from(JSON.stringify(body)), respond };
    this.#endpoints.get(pattern)?.(null, message as unknown as ServiceMsg);
  }
}

/** One handler for all operations. */
async function serving(handle: (call: Parameters<AgentHandlers["run"]>[0]) => Promise<object>): Promise<Desk> {
  return (await served(handle)).desk;
}

async function served(handle: (call: Parameters<AgentHandlers["run"]>[0]) => Promise<object>) {
  const desk = new Desk();
  const all = (operations: readonly string[]): object =>
    Object.fromEntries(operations.map((operation) => [operation, handle]));
  const log = pino({ level: "silent" });
  const service = new EndpointService(desk.connection, new Outbox(desk.connection, log), log);
  await service.start("0", all(AGENT_OPERATIONS) as AgentHandlers, all(ADMIN_OPERATIONS) as AdminHandlers);
  return { desk, service };
}

test("as many requests of one agent as may be at work keep neither another one nor the administrator waiting", async () => {
  const over = Promise.withResolvers<object>();
  const desk = await serving(({ agent }) => (agent === "busy" ? over.promise : Promise.resolve({})));
  for (let n = 0; n < 4096; n++) desk.ask("vlinder.v1.busy.run", "vlinder.v1.*.run");
  expect(desk.answers).toEqual([]);
  desk.ask("vlinder.v1.busy.run", "vlinder.v1.*.run");
  desk.ask("vlinder.v1.other.run", "vlinder.v1.*.run");
  desk.ask("vlinder.admin.v1.daemon.status", "vlinder.admin.v1.daemon.status");
  await sleep(0);
  expect(desk.answers).toEqual(["unavailable", "", ""]);

  over.resolve({});
  await sleep(0);
  expect(desk.answers).toHaveLength(3 + 4096);
  desk.ask("vlinder.v1.busy.run", "vlinder.v1.*.run");
  await sleep(0);
  expect(desk.answers.at(-1)).toBe("");
});

test("progress that can't be told, since the connection is closed, throws at nobody: it is told from timers, too", async () => {
  const over = Promise.withResolvers<unknown>();
  const desk = await serving(async ({ progress }) => {
    await sleep(0);
    try {
      progress({ what: "waiting", done: 0, total: null, unit: "bytes" });
      over.resolve(null);
    } catch (error) {
      over.resolve(error);
    }
    return {};
  });
  desk.ask("vlinder.v1.one.run", "vlinder.v1.*.run", { progress: true });
  desk.isClosed = true;
  expect(await over.promise).toBeNull();
});

test("a stop waits for what is at work, and ends when it is answered", async () => {
  const over = Promise.withResolvers<object>();
  const { desk, service } = await served(() => over.promise);
  desk.ask("vlinder.v1.one.run", "vlinder.v1.*.run");
  const stopped = service.stop(10_000);
  await sleep(20);
  over.resolve({});
  await stopped;
  desk.isClosed = true;
  expect(desk.answers).toEqual([""]);
});
