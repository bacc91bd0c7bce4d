import { isHash } from "../hash.ts";
import { LIMITS } from "../limits.ts";
import { isAsciiKey, isBranchName } from "../names.ts";
import type { AgentOperation } from "../subjects.ts";

/*
 * Requests as nearly all are, told without their schemas. A schema is much code, of which a process that has slept between two requests has nothing
 * in its processor's caches: without it a put or get takes 10 to 15 µs less. What is not seen here to be right, the schema judges: it alone
 * says what a request is, and what is wrong with one. A test holds the two together.
 */

type Is = (value: unknown) => boolean;
type Fields = Readonly<Record<string, Is>>;

const isId: Is = (value) => typeof value === "string" && value.length > 0 && value.length <= LIMITS.idChars;
const isBytes: Is = (value) => value instanceof Uint8Array && value.length <= LIMITS.valueBytes;
const isExpected: Is = (value) => value === null || isHash(value);

const reads = fields({ branch: isBranchName, turn: isId });
const writes = fields({ branch: isBranchName, turn: isId, session: isId, id: isId });

const USUAL: { readonly [Op in AgentOperation]?: { readonly fields: Fields; readonly required: readonly string[] } } = {
  "kv.put": {
    fields: fields({ key: isAsciiKey, value: isBytes, expect: isExpected, ...writes }),
    required: ["key", "value"],
  },
  "kv.get": { fields: fields({ key: isAsciiKey, ...reads }), required: ["key"] },
  "kv.delete": { fields: fields({ key: isAsciiKey, expect: isExpected, ...writes }), required: ["key"] },
  "kv.pipeline": { fields: fields({ ops: areOperations }), required: ["ops"] },
  "turn.begin": {
    fields: fields({ branch: isBranchName, session: isId, input: isBytes, retries: isId, id: isId }),
    required: [],
  },
  "turn.complete": { fields: fields({ turn: isId, output: isBytes, id: isId }), required: ["turn"] },
};

/** Whether the operation's schema surely takes a request, and gives it back as it is; false: the schema is to be asked. */
export function isUsual(operation: AgentOperation, request: unknown): boolean {
  return isMap(request) && has(request, operation);
}

/** @param tag a field that was looked at already */
function has(request: Readonly<Record<string, unknown>>, operation: AgentOperation, tag?: string): boolean {
  const usual = USUAL[operation];
  if (usual === undefined) return false;
  let missing = usual.required.length;
  for (const name in request) {
    if (name === tag) continue;
    const is = usual.fields[name];
    if (is === undefined) return false;
    const value = request[name];
    if (value === undefined) continue;
    if (!is(value)) return false;
    if (usual.required.includes(name)) missing--;
  }
  return missing === 0;
}

function areOperations(ops: unknown): boolean {
  if (!Array.isArray(ops) || ops.length === 0 || ops.length > LIMITS.operations) return false;
  for (const item of ops) if (!isOperation(item)) return false;
  return true;
}

function isOperation(item: unknown): boolean {
  if (!isMap(item)) return false;
  const { op } = item;
  return (op === "put" || op === "get" || op === "delete") && has(item, `kv.${op}`, "op");
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Without a prototype: what an object has by itself is no field. */
function fields(all: Fields): Fields {
  return Object.assign(Object.create(null), all) as Fields;
}
