import {
  type AgentName,
  type CommitEventMessage,
  encodeBody,
  eventSubject,
  invokeSubject,
  type SyncEventMessage,
  type SyncOwed,
  type TurnEventMessage,
} from "@vlinder/protocol";
import type { NatsConnection } from "nats";
import type { Logger } from "pino";
import type { TurnNews } from "../state/turns/turns.ts";
import type { DurableMove } from "../state/writer.ts";
import type { LockNews } from "../sync/schedule/locks.ts";
import type { Outbox } from "./outbox.ts";

/** What the daemon tells without being asked. In order, as all of them go through one outbox. */
export class Events {
  readonly #connection: NatsConnection;
  readonly #outbox: Outbox;
  readonly #log: Logger;

  constructor(connection: NatsConnection, outbox: Outbox, log: Logger) {
    this.#connection = connection;
    this.#outbox = outbox;
    this.#log = log;
  }

  /** The durable moves of an agent's branches. */
  moves(agent: AgentName, moves: readonly DurableMove[]): void {
    for (const { name, from, to } of moves) {
      const message = (): CommitEventMessage => ({ agent, branch: name, from, state: to, time: now() });
      this.#publish(agent, eventSubject(agent, "commit"), message);
    }
  }

  turn(agent: AgentName, { turn, session, branch, what, ended }: TurnNews): void {
    this.#publish(agent, eventSubject(agent, "turn"), (): TurnEventMessage => {
      const reason = ended === null || ended.kind === "completed" ? null : ended.reason;
      return { agent, turn, session, branch, what, commit: ended?.commit ?? null, reason, time: now() };
    });
  }

  lock({ agent, lock, error }: LockNews, owed: SyncOwed["owed"]): void {
    const message = (): SyncEventMessage => ({ agent, lock, error, owed, time: now() });
    this.#publish(agent, eventSubject(agent, "sync"), message);
  }

  /** Work for an agent. */
  announce(agent: AgentName, message: object): void {
    this.#publish(agent, invokeSubject(agent), () => message);
  }

  #publish(agent: AgentName, subject: string, message: () => object): void {
    this.#outbox.tell(() => {
      try {
        this.#connection.publish(subject, encodeBody(message(), "json"));
      } catch (error) {
        // The connection is closing: who watches reads on from the last commit that they saw.
        this.#log.warn({ agent, err: error }, "an event could not be published");
      }
    });
  }
}

function now(): string {
  return new Date().toISOString();
}
