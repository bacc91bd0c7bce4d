import { encode } from "@msgpack/msgpack";

/** A body that nobody should send, with the codes that may answer it. */
export interface HostileBody {
  readonly what: string;
  readonly operation: string;
  readonly body: Uint8Array;
  readonly codes: readonly string[];
}

const text = (json: string): Uint8Array => Buffer.from(json, "utf8");
const json = (value: unknown): Uint8Array => text(JSON.stringify(value));
const pack = (value: unknown): Uint8Array => encode(value);
const bytes = (...parts: (number | string)[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from([part]))));

const VALUE = "x".repeat(512 * 1024 + 1);

function bodies(
  operation: string,
  codes: readonly string[],
  cases: Readonly<Record<string, Uint8Array>>,
): HostileBody[] {
  return Object.entries(cases).map(([what, body]) => ({ what, operation, body, codes }));
}

/** What is no body at all; for any operation. */
const MALFORMED = bodies("kv.put", ["invalid"], {
  "JSON cut off": text('{"key":"/k","value":"v"'),
  "JSON with more behind it": text('{"key":"/k","value":"v"} {}'),
  "JSON with a comment": text('{"key":"/k","value":"v"/**/}'),
  "a JSON array": text('[{"key":"/k"}]'),
  "a JSON string": text('"{}"'),
  "white space only": text("  \n"),
  "a byte order mark before JSON": text('\ufeff{"key":"/k","value":"v"}'),
  "invalid UTF-8 in JSON": bytes('{"key":"/k', 0xff, '","value":"v"}'),
  "a UTF-8 overlong form": bytes('{"key":"/', 0xc0, 0xaf, '","value":"v"}'),
  "a surrogate in UTF-8": bytes('{"key":"/', 0xed, 0xa0, 0x80, '","value":"v"}'),
  "deep JSON": text(`{"key":"/k","value":${"[".repeat(100_000)}${"]".repeat(100_000)}}`),
  "deep JSON objects": text(`${'{"value":'.repeat(20_000)}1${"}".repeat(20_000)}`),
  "an endless number": text('{"key":"/k","value":"v","x":1e999}'),
  "__proto__ in JSON": text('{"key":"/k","value":"v","__proto__":{"branch":"main"}}'),
  "a lone surrogate in a field's name": text('{"key":"/k","value":"v","\\ud800":1}'),
  "an unused byte of MessagePack": bytes(0xc1),
  "MessagePack cut off": pack({ key: "/k", value: "v" }).slice(0, -1),
  "MessagePack with more behind it": Buffer.concat([pack({ key: "/k", value: "v" }), Buffer.from([0xc0])]),
  "a MessagePack array": pack(["/k"]),
  "a map of four billion": bytes(0xdf, 0xff, 0xff, 0xff, 0xff),
  "a list of four billion": bytes(0x81, 0xa3, "key", 0xdd, 0xff, 0xff, 0xff, 0xff),
  "bytes, four billion of them": bytes(0x81, 0xa3, "key", 0xc6, 0xff, 0xff, 0xff, 0xff),
  "a MessagePack extension": bytes(0x81, 0xa3, "key", 0xd4, 0x01, 0x00),
  "deep MessagePack": Buffer.concat([bytes(0x81, 0xa3, "key"), Buffer.alloc(100_000, 0x91), Buffer.from([0xc0])]),
  "invalid UTF-8 in MessagePack": bytes(0x82, 0xa3, "key", 0xa2, "/", 0xff, 0xa5, "value", 0xa1, "v"),
  "the same field twice": bytes(0x83, 0xa3, "key", 0xa2, "/k", 0xa5, "value", 0xa1, "v", 0xa3, "key", 0xa2, "/l"),
  "__proto__ in MessagePack": bytes(0x83, 0xa3, "key", 0xa2, "/k", 0xa5, "value", 0xa1, "v", 0xa9, "__proto__", 0x80),
  "a number as a field's name": bytes(0x81, 0x01, 0x01),
  NaN: bytes(0x81, 0xa5, "limit", 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0),
  "noise that is no map": Buffer.from(Array.from({ length: 5_000 }, (_, i) => (i * 197 + 0x80) % 256)),
});

const KEYS = bodies("kv.put", ["invalid"], {
  "no fields": json({}),
  "no value": json({ key: "/k" }),
  "a value and an upload": json({ key: "/k", value: "v", upload: "u" }),
  "an empty key": json({ key: "", value: "v" }),
  "a key with NUL": json({ key: "/a\0b", value: "v" }),
  "a key that is a lone surrogate": text('{"key":"\\ud800","value":"v"}'),
  "a value with a lone surrogate": text('{"key":"/k","value":"\\udfff"}'),
  "a key of 1,025 bytes": json({ key: "k".repeat(1025), value: "v" }),
  "a key of 513 two-byte letters": json({ key: "ä".repeat(513), value: "v" }),
  "a key of a megabyte": json({ key: "k".repeat(1_000_000), value: "v" }),
  "a key that is a number": json({ key: 1, value: "v" }),
  "a key that is a list": json({ key: ["/k"], value: "v" }),
  "a key that is bytes": pack({ key: Buffer.from("/k"), value: "v" }),
  "a value that is null": json({ key: "/k", value: null }),
  "a value that is a number": json({ key: "/k", value: 7 }),
  "a value of wrong base64": json({ key: "/k", value: { base64: "=====" } }),
  "a value with more than base64": json({ key: "/k", value: { base64: "AA==", x: 1 } }),
  "an unknown field": json({ key: "/k", value: "v", colour: "red" }),
  "constructor as a field": json({ key: "/k", value: "v", constructor: 1 }),
  "toString as a field": json({ key: "/k", value: "v", toString: 1 }),
  "a branch with a wildcard": json({ key: "/k", value: "v", branch: "*" }),
  "a branch that is __proto__": json({ key: "/k", value: "v", branch: "__proto__" }),
  "a branch with a path": json({ key: "/k", value: "v", branch: "../main" }),
  "an expect that is no hash": json({ key: "/k", value: "v", expect: "abc" }),
  "an expect in capitals": json({ key: "/k", value: "v", expect: "A".repeat(64) }),
  "an id of 129 characters": json({ key: "/k", value: "v", id: "i".repeat(129) }),
  "an empty id": json({ key: "/k", value: "v", id: "" }),
  "at on a write": json({ key: "/k", value: "v", at: "0".repeat(64) }),
});

const OPERATIONS = [
  ...bodies("kv.put", ["not_found"], {
    "a branch that is not there": json({ key: "/k", value: "v", branch: "constructor" }),
    "a turn that is not open": json({ key: "/k", value: "v", turn: "t-1" }),
  }),
  ...bodies("kv.put", ["too_large"], {
    "a value of 512 KiB and one": json({ key: "/k", value: VALUE }),
    "the same as bytes": pack({ key: "/k", value: Buffer.from(VALUE) }),
    "a message as large as the server takes": json({ key: "/k", value: "x".repeat(1024 * 1024 - 400) }),
  }),
  ...bodies("kv.put", ["conflict"], {
    "an expect that does not hold": json({ key: "/k", value: "v", expect: "0".repeat(64) }),
    "an id that another request had": json({ key: "/k", value: "other", id: "taken" }),
  }),
  ...bodies("kv.put", ["not_found"], { "an upload that is not there": json({ key: "/k", upload: "constructor" }) }),
  ...bodies("value.put", ["invalid"], {
    "an offset below 0": json({ upload: "u", offset: -1, bytes: "x" }),
    "an offset of 1.5": json({ upload: "u", offset: 1.5, bytes: "x" }),
    "an offset over 53 bits": json({ upload: "u", offset: 2 ** 53, bytes: "x" }),
    "no bytes": json({ upload: "u", offset: 0 }),
    "an empty upload": json({ upload: "", offset: 0, bytes: "x" }),
    "an upload of 129 characters": json({ upload: "u".repeat(129), offset: 0, bytes: "x" }),
    "another hash": json({ upload: "u", offset: 0, bytes: "x", last: true, hash: "0".repeat(64) }),
  }),
  ...bodies("value.put", ["not_found"], {
    "the end of what never began": json({ upload: "u", offset: 2 ** 53 - 1, bytes: "x", last: true }),
  }),
  ...bodies("value.put", ["too_large"], {
    "a part of 512 KiB and one": pack({ upload: "u", offset: 0, bytes: Buffer.from(VALUE) }),
  }),
  ...bodies("value.get", ["invalid"], {
    "a hash in place of a key": json({ hash: "0".repeat(64) }),
    "a length of 512 KiB and one": json({ key: "/there", length: 512 * 1024 + 1 }),
    "an offset behind the end": json({ key: "/there", offset: 2 ** 53 - 1, length: 1 }),
  }),
  ...bodies("kv.batch", ["invalid"], {
    "no operations": json({ ops: [] }),
    "operations that are no list": json({ ops: { 0: { op: "delete", key: "/k" }, length: 1 } }),
    "an unknown operation": json({ ops: [{ op: "get", key: "/k" }] }),
    "one bad operation of many": json({
      ops: [
        { op: "put", key: "/k", value: "v" },
        { op: "put", key: "/l" },
      ],
    }),
  }),
  ...bodies("kv.batch", ["too_large"], {
    "1,001 operations": json({ ops: Array.from({ length: 1001 }, (_, i) => ({ op: "put", key: `/${i}`, value: "" })) }),
  }),
  ...bodies("kv.batch", ["conflict"], {
    "an expect of many that does not hold": json({
      ops: [
        { op: "put", key: "/k", value: "v" },
        { op: "delete", key: "/there", expect: null },
      ],
    }),
  }),
  ...bodies("kv.pipeline", ["too_large"], {
    "1,001 operations": json({ ops: Array.from({ length: 1001 }, (_, i) => ({ op: "put", key: `/${i}`, value: "" })) }),
  }),
  ...bodies("kv.list", ["invalid"], {
    "a limit of 0": json({ limit: 0 }),
    "a limit of 1,001": json({ limit: 1001 }),
    "a limit of 1.5": json({ limit: 1.5 }),
    "a limit as text": json({ limit: "10" }),
    "a prefix with NUL": json({ prefix: "\0" }),
    "no state": json({ at: "" }),
    "a time that is none": json({ at: "main@2026-13-01" }),
  }),
  ...bodies("kv.list", ["not_found"], { "a commit of three digits": json({ at: "abc" }) }),
  ...bodies("vector.put", ["invalid"], {
    "a vector of another dimension": json({ key: "/v", vector: [1, 2] }),
    "an empty vector": json({ key: "/v", vector: [] }),
    "a vector of 4,097": json({ key: "/v", vector: Array.from({ length: 4097 }, () => 1) }),
    "a vector of text": json({ key: "/v", vector: ["1", "2", "3"] }),
    "a component that no float32 holds": json({ key: "/v", vector: [1e300, 0, 0] }),
    "a vector of NaN": pack({ key: "/v", vector: Buffer.from(new Float32Array([Number.NaN, 0, 0]).buffer) }),
    "a vector of odd bytes": pack({ key: "/v", vector: Buffer.alloc(13) }),
    "metadata that is a list": json({ key: "/v", vector: [1, 2, 3], metadata: [1] }),
    "a model of 201 letters": json({ key: "/v", vector: [1, 2, 3], model: "m".repeat(201) }),
    "a model of 101 two-byte letters": json({ key: "/v", vector: [1, 2, 3], model: "ä".repeat(101) }),
  }),
  ...bodies("vector.put", ["too_large"], {
    "metadata over 16 KiB": json({ key: "/v", vector: [1, 2, 3], metadata: { text: "m".repeat(16 * 1024) } }),
  }),
  ...bodies("vector.search", ["invalid"], {
    "a limit over 1,000": json({ vector: [1, 2, 3], limit: 1001 }),
    "a range of nothing": json({ vector: [1, 2, 3], filter: { a: {} } }),
    "an unknown comparison": json({ vector: [1, 2, 3], filter: { a: { like: "x" } } }),
    "an empty in": json({ vector: [1, 2, 3], filter: { a: { in: [] } } }),
  }),
  ...bodies("timeline.fork", ["invalid"], {
    "a branch named like a commit": json({ name: "a".repeat(64) }),
    "a branch named with spaces": json({ name: "a b" }),
  }),
  ...bodies("timeline.fork", ["conflict"], { "main again": json({ name: "main" }) }),
  ...bodies("timeline.fork", ["not_found"], {
    "from a state that is not there": json({ name: "x", from: "f".repeat(64) }),
  }),
  ...bodies("timeline.promote", ["invalid"], {
    "main into itself": json({ branch: "main" }),
    "a branch named like a commit": json({ branch: "a".repeat(64) }),
  }),
  ...bodies("timeline.promote", ["not_found"], {
    "a branch that is not there": json({ branch: "nowhere" }),
    "into a branch that is not there": json({ branch: "main", into: "nowhere" }),
  }),
  ...bodies("timeline.rewind", ["invalid"], {
    "to a time that is none": json({ to: "main@noon" }),
    "to a day that is none": json({ to: "@2026-02-30" }),
    "to more than a ref may have": json({ to: `${"m".repeat(150)}@2026-11-20` }),
  }),
  ...bodies("timeline.rewind", ["not_found"], {
    "to a time before everything": json({ to: "0001-01-01" }),
    "to a time on a branch that is not there": json({ to: "nowhere@2026-11-20" }),
    "to a state that is not there": json({ to: "f".repeat(64) }),
    "to __proto__": json({ to: "__proto__" }),
  }),
  ...bodies("timeline.merge", ["not_found"], { "from a branch that is not there": json({ from: "nowhere" }) }),
  ...bodies("timeline.delete_branch", ["invalid"], { main: json({ branch: "main" }) }),
  ...bodies("timeline.diff", ["invalid"], { "a position of nothing": json({ from: "main", to: "main", after: "x" }) }),
  ...bodies("timeline.branches", ["invalid"], {
    "after a name that none has": json({ after: "a b" }),
    "a limit of 0": json({ limit: 0 }),
  }),
  ...bodies("turn.begin", ["invalid"], {
    "a limit of 0": json({ limit: 0 }),
    "a limit of a day and a second": json({ limit: 86_401 }),
    "a limit that is infinite": pack({ limit: Number.POSITIVE_INFINITY }),
    "an input with a lone surrogate": text('{"input":"\\udfff"}'),
    "what only the daemon says": json({ replays: "t-1" }),
    "the turn's own id": json({ turn: "t-1" }),
    "an empty session": json({ session: "" }),
  }),
  ...bodies("turn.begin", ["not_declared"], {
    "a provider that is not declared": json({ provider: "openai" }),
    "a model that is not declared": json({ model: "constructor" }),
  }),
  ...bodies("turn.begin", ["not_found"], {
    "a turn to do again that never was": json({ retries: "__proto__" }),
    "a branch that is not there": json({ branch: "nowhere" }),
  }),
  ...["turn.accept", "turn.complete"].flatMap((operation) =>
    bodies(operation, ["not_found"], {
      "a turn that is not open": json({ turn: "constructor" }),
      "a turn that is a path": json({ turn: "../t-1" }),
    }),
  ),
  ...bodies("turn.complete", ["too_large"], {
    "an output of 512 KiB and one": json({ turn: "t-1", output: VALUE }),
  }),
  ...bodies("turn.emit", ["invalid"], {
    "no text": json({ turn: "t-1" }),
    "text that is bytes": json({ turn: "t-1", text: { base64: "AA==" } }),
  }),
  ...bodies("turn.fail", ["invalid"], {
    "no reason": json({ turn: "t-1" }),
    "an empty reason": json({ turn: "t-1", reason: "" }),
    "a reason of 2,001 letters": json({ turn: "t-1", reason: "r".repeat(2001) }),
  }),
  ...bodies("turn.replay", ["invalid"], {
    "recorded calls of another model": json({ turn: "t-1", recorded: true, model: "m" }),
    "a provider that is not there": json({ turn: "t-1", provider: "__proto__" }),
  }),
  ...bodies("turn.replay", ["not_found"], { "a turn that never was": json({ turn: "toString" }) }),
  ...bodies("session.get", ["not_found"], {
    "a session that is not there": json({ session: "__proto__" }),
    "before a turn that never was": json({ session: "s", before: "constructor" }),
  }),
  ...bodies("session.list", ["not_found"], { "after a session that is not there": json({ after: "valueOf" }) }),
  ...bodies("run", ["not_declared"], { "a provider that is not declared": json({ provider: "ollama", limit: 1 }) }),
  ...bodies("run.override", ["invalid"], {
    "a provider that is not there": json({ provider: "constructor", limit: 1 }),
  }),
  ...bodies("effect.begin", ["not_found"], { "a turn that is not open": json({ turn: "t-1", key: "mail" }) }),
  ...bodies("effect.begin", ["invalid"], {
    "a key with a lone surrogate": text('{"turn":"t-1","key":"\\ud800"}'),
    "a key of 513 letters": json({ turn: "t-1", key: "k".repeat(513) }),
  }),
  ...bodies("effect.end", ["invalid"], {
    "a word that only a person has": json({ begun: "0".repeat(64), by: "person" }),
    "a result and an error": json({ begun: "0".repeat(64), result: "1", error: "x" }),
    "a result that is no JSON": json({ begun: "0".repeat(64), result: "{" }),
  }),
  ...bodies("effect.end", ["not_found"], { "what nobody began": json({ begun: "0".repeat(64) }) }),
  ...bodies("effect.resolve", ["invalid"], {
    "all of them": json({ effect: "e-", status: "done" }),
    "what is under way": json({ effect: "e-0000", status: "running" }),
    "not done, with a result": json({ effect: "e-0000", status: "not_done", result: "1" }),
  }),
  ...bodies("effect.resolve", ["not_found"], {
    "an effect that is not there": json({ effect: "e-0000", status: "done" }),
  }),
  ...bodies("service.infer", ["invalid"], {
    "a URL as a path": json({ method: "POST", path: "http://example.com/v1/x", body: "{}" }),
    "a host in a path": json({ method: "POST", path: "//example.com/v1/x", body: "{}" }),
    "a way up in a path": json({ method: "GET", path: "/v1/../admin" }),
    "an encoded slash in a path": json({ method: "GET", path: "/v1/models%2fx" }),
    "a line break in a header": json({ method: "GET", path: "/v1/models", headers: { accept: "a\r\nhost: b" } }),
    "a header named with a colon": json({ method: "GET", path: "/v1/models", headers: { "a:b": "c" } }),
    "65 headers": json({
      method: "GET",
      path: "/v1/models",
      headers: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h${i}`, ""])),
    }),
    "a stream without a name": json({ method: "POST", path: "/v1/chat/completions", body: "{}", stream: true }),
    "a body of a GET": json({ method: "GET", path: "/v1/models", body: "{}" }),
    "another method": json({ method: "DELETE", path: "/v1/models/x" }),
  }),
  ...bodies("service.infer", ["not_declared"], {
    "a service that is not declared": json({ method: "GET", path: "/v1/models" }),
  }),
  ...bodies("service.infer", ["not_found"], {
    "a turn that is not open": json({ method: "GET", path: "/v1/models", turn: "t-1" }),
  }),
  ...bodies("service.ack", ["invalid"], {
    "parts below 0": json({ call: "c", received: -1 }),
    "half a part": json({ call: "c", received: 0.5 }),
  }),
];

export const HOSTILE_BODIES: readonly HostileBody[] = [...MALFORMED, ...KEYS, ...OPERATIONS];

/** The same for what the administrator asks; none of it registers or changes anything. */
export const HOSTILE_ADMIN_BODIES: readonly HostileBody[] = [
  ...bodies("agents.register", ["invalid", "not_found"], {
    "a folder that is not there": json({ dir: "/nowhere/at/all" }),
    "a folder that is a file": json({ dir: "/dev/null" }),
    "a folder with NUL": json({ dir: "/tmp\0/x" }),
    "a folder of 5,000 letters": json({ dir: `/${"x".repeat(4999)}` }),
    "a name of 4,000 letters": json({ dir: `/${"x".repeat(4000)}` }),
    "no folder": json({ dir: "" }),
    "a number": json({ dir: 1 }),
  }),
  ...bodies("agents.show", ["invalid"], { "a wildcard": json({ agent: "*" }), "a path": json({ agent: "../x" }) }),
  ...bodies("agents.remove", ["invalid", "not_registered"], {
    "a wildcard": json({ agent: ">" }),
    admin: json({ agent: "admin" }),
    "an agent that is not there": json({ agent: "nobody", purge: true }),
    "purge as text": json({ agent: "victim", purge: "yes" }),
  }),
  ...bodies("sync.init", ["invalid", "unavailable", "not_found", "denied"], {
    "no URI": json({ uri: "x" }),
    "a scheme that nobody knows": json({ uri: "gopher://x" }),
    "a relative path": json({ uri: "file://relative" }),
    "a path with NUL": json({ uri: "file:///dev/null/\0x" }),
    "a path that can't be made": json({ uri: "file:///dev/null/x" }),
  }),
  ...bodies("sync.init", ["invalid"], {
    "encrypt and key": json({ uri: "file:///tmp/x", encrypt: true, key: "AGE-SECRET-KEY-1" }),
    "a short vault": json({ uri: "file:///tmp/x", vault: "00" }),
    "a name with a line feed": json({ uri: "file:///tmp/x", encrypt: true, name: "a\nb" }),
    "a name of an escape": json({ uri: "file:///tmp/x", encrypt: true, name: "\u001b[2J" }),
  }),
  ...bodies("vault.add", ["invalid"], {
    "no request": json({ request: "hello" }),
    "half a request": json({ request: "vlinder-request-1.eyJib2R5" }),
    "a request that is JSON of something else": json({ request: "vlinder-request-1.W10" }),
    "a request that is null": json({ request: "vlinder-request-1.bnVsbA" }),
    "a request of 8,000 letters": json({ request: `vlinder-request-1.${"x".repeat(8000)}` }),
  }),
  ...bodies("vault.distrust", ["invalid", "not_found"], {
    "a wildcard": json({ device: "*" }),
    nothing: json({ device: "" }),
    "a device that is not there": json({ device: "ffffffffffff" }),
  }),
  ...bodies("vault.rotate", ["invalid", "unavailable"], { "a key that is none": json({ key: "x" }) }),
  ...bodies("daemon.drain", ["invalid"], { "an unknown field": json({ now: true }) }),
];
