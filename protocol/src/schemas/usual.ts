import { LIMITS } from "../limits.ts";
import type { AgentOperation } from "../subjects.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Its bytes are its characters, so that it is as the schema would give it. */
const USUAL_KEY = /^[\x20-\x7e]{1,1024}$/;

const ALONE: Partial<Record<AgentOperation, string>> = { "kv.put": "put", "kv.get": "get", "kv.delete": "delete" };

/**
 * Whether a decoded body is one that the operation's schema surely takes, and gives as it is: puts, gets and deletes as
 * they mostly are. To ask the schema costs several times as much. All else is up to it.
 */
export function isUsual(operation: AgentOperation, body: Fields): boolean {
  if (operation !== "kv.pipeline") return isUsualOne(ALONE[operation], body, false);
  const { ops } = body;
  if (!Array.isArray(ops) || ops.length === 0 || ops.length > LIMITS.operations) return false;
  return (
    Object.keys(body).length === 1 && ops.every((one: unknown) => isObject(one) && isUsualOne(one["op"], one, true))
  );
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

function isUsualOne(op: unknown, fields: Fields, isOneOfMany: boolean): boolean {
  if (op !== "put" && op !== "get" && op !== "delete") return false;
  const { key, value } = fields;
  if (typeof key !== "string" || !USUAL_KEY.test(key)) return false;
  if (op === "put" && !(value instanceof Uint8Array && value.length <= LIMITS.valueBytes)) return false;
  for (const name of Object.keys(fields)) {
    if (name === "key" || (name === "op" && isOneOfMany) || (name === "value" && op === "put")) continue;
    if (name !== "turn" && (name !== "id" || op === "get")) return false;
    const text = fields[name];
    if (typeof text !== "string" || text.length === 0 || text.length > LIMITS.idChars) return false;
  }
  return true;
}
