import { pino, type DestinationStream, type Logger } from "pino";

export type { Logger };

/** Fields whose value is a secret, wherever somebody logs an object that has them. */
const SECRET_FIELDS = [
  "authorization",
  "password",
  "passphrase",
  "token",
  "secret",
  "seed",
  "jwt",
  "apiKey",
  "api_key",
];

/** Secrets that have a shape of their own, also inside of messages and stacks. */
const SECRET_TEXTS: readonly (readonly [RegExp, string])[] = [
  // user:password@ of a URI
  [/([a-z][a-z0-9+.-]*:\/\/[^\s:@/"\\]*):[^\s@/"\\]+@/gi, "$1:[secret]@"],
  // seeds of NATS keys, JWTs, age keys, tokens of Hugging Face and of model providers
  [/\bS[UAONCX][A-Z2-7]{56}\b/g, "[secret]"],
  [/\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*/g, "[secret]"],
  [/\bAGE-SECRET-KEY-[0-9A-Z]+/g, "[secret]"],
  [/\b(?:hf_|sk-)[A-Za-z0-9_-]{16,}/g, "[secret]"],
];

/** JSON lines on standard error (or `destination`), with secrets taken out. */
export function createLog(
  level: string,
  destination: DestinationStream = pino.destination({ fd: 2, sync: true }),
): Logger {
  const paths = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]);
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths, censor: "[secret]" },
      hooks: {
        streamWrite: (line) => SECRET_TEXTS.reduce((text, [pattern, instead]) => text.replace(pattern, instead), line),
      },
    },
    destination,
  );
}
