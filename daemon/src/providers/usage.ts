import type { Tokens } from "@vlinder/protocol";
import type { UsageForm } from "./endpoints.ts";

/** A body up to this size is parsed; of a longer one (embeddings) only its end is looked at. */
const PARSED_BYTES = 1024 * 1024;
const END_BYTES = 4096;

type Fields = Readonly<Record<string, unknown>>;

/** The tokens that an answer says it took, streamed or not; null where it does not say. */
export function tokensOf(form: UsageForm, contentType: string, body: Buffer): Tokens | null {
  if (form === "none" || body.length === 0) return null;
  let counted: Partial<Tokens> = {};
  for (const one of documentsOf(contentType, body)) counted = { ...counted, ...READERS[form](one) };
  const { input, output = 0 } = counted;
  return input === undefined ? null : { input, output };
}

const READERS: Readonly<Record<Exclude<UsageForm, "none">, (document: Fields) => Partial<Tokens>>> = {
  openai: ({ usage }) => pair(fields(usage)["prompt_tokens"], fields(usage)["completion_tokens"]),
  responses: ({ usage, response }) => {
    const found = fields(usage ?? fields(response)["usage"]);
    return pair(found["input_tokens"], found["output_tokens"]);
  },
  anthropic: ({ usage, message }) => {
    const found = fields(usage ?? fields(message)["usage"]);
    const input = number(found["input_tokens"]);
    // What was written to the cache or read from it is counted beside the rest.
    const cached =
      (number(found["cache_creation_input_tokens"]) ?? 0) + (number(found["cache_read_input_tokens"]) ?? 0);
    return pair(input === undefined ? undefined : input + cached, found["output_tokens"]);
  },
  ollama: (found) => pair(found["prompt_eval_count"], found["eval_count"]),
};

function* documentsOf(contentType: string, body: Buffer): Generator<Fields> {
  const streamed = /^text\/event-stream\b/i.test(contentType);
  if (streamed || /^application\/x-ndjson\b/i.test(contentType)) {
    for (const line of body.toString("utf8").split(/\r\n|\r|\n/)) {
      if (streamed && !line.startsWith("data:")) continue;
      const text = streamed ? line.slice("data:".length) : line;
      // Most of a stream are words: only what may count is parsed.
      if (/"usage"|"prompt_eval_count"/.test(text)) yield* parsed(text);
    }
  } else if (body.length <= PARSED_BYTES) yield* parsed(body.toString("utf8"));
  else {
    const end = body.subarray(-END_BYTES).toString("utf8");
    const usage = /"usage"\s*:\s*(\{[^{}]*\})/.exec(end)?.[1];
    if (usage !== undefined) yield* parsed(`{"usage":${usage}}`);
    const count = /"prompt_eval_count"\s*:\s*\d+/.exec(end)?.[0];
    if (count !== undefined) yield* parsed(`{${count}}`);
  }
}

function* parsed(text: string): Generator<Fields> {
  try {
    yield fields(JSON.parse(text));
  } catch {
    // An answer need not be what its header says; then nothing is known of its tokens.
  }
}

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function number(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

function pair(input: unknown, output: unknown): Partial<Tokens> {
  const [read, written] = [number(input), number(output)];
  return { ...(read === undefined ? {} : { input: read }), ...(written === undefined ? {} : { output: written }) };
}
