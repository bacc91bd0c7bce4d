import { readFile } from "node:fs/promises";
import { decodeBody, ERROR_CODE_HEADER, type ErrorBody } from "@vlinder/protocol";
import { connect, credsAuthenticator, type NatsConnection } from "nats";

/** A plain NATS connection whose replies come to the user's own inbox. */
export async function openWire(url: string, creds: string, user: string): Promise<NatsConnection> {
  return await connect({
    servers: url,
    authenticator: credsAuthenticator(await readFile(creds)),
    inboxPrefix: `_INBOX.${user}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    noAsyncTraces: true,
  });
}

/** A reply: of what it has depends on the operation; `error` is null when it went well. */
export interface Answer {
  readonly body: Record<string, unknown>;
  readonly error: ErrorBody | null;
}

/** One request as JSON, or as the bytes given. @throws NatsError, when there is no answer */
export async function ask(
  connection: NatsConnection,
  subject: string,
  body: object | Uint8Array,
  timeout = 10_000,
): Promise<Answer> {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
  const message = await connection.request(subject, bytes, { timeout });
  const decoded = decodeBody(message.data);
  const failed = message.headers?.get(ERROR_CODE_HEADER) ?? "";
  return { body: decoded, error: failed === "" ? null : (decoded["error"] as ErrorBody) };
}
