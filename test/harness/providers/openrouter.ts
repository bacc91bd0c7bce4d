import type OpenAI from "openai";
import { z } from "zod";
import { chat, checkStreamOptions, CREATED, openaiDialect, type ChatDialect } from "./openai-chat.ts";
import { chatSchema } from "./openai-chat-schema.ts";
import { authorizeAsOpenai } from "./openai-wire.ts";
import { bracketed } from "./flaw.ts";
import { echo, idOf, type Answer } from "./generation.ts";
import { json, Refusal, sse, type Problem, type Provider, type Whole } from "./provider.ts";

export const OPENROUTER_MODEL = "openai/gpt-4.1-mini";
const MODELS: ReadonlySet<string> = new Set([OPENROUTER_MODEL]);

/** What OpenRouter takes besides OpenAI's fields. */
const schema = chatSchema.extend({
  models: z.array(z.string()).optional(),
  provider: z.record(z.string(), z.unknown()).optional(),
  plugins: z.array(z.record(z.string(), z.unknown())).optional(),
  reasoning: z.record(z.string(), z.unknown()).optional(),
  transforms: z.array(z.string()).optional(),
  usage: z.strictObject({ include: z.boolean() }).optional(),
  top_k: z.int().min(0).optional(),
  min_p: z.number().min(0).max(1).optional(),
  top_a: z.number().min(0).max(1).optional(),
  repetition_penalty: z.number().min(0).max(2).optional(),
});

/** OpenRouter's error body: the status is the code. */
function refuse({ status, message }: Problem): Whole {
  return json({ error: { message, code: status } }, {}, status);
}

/** A dollar a million tokens of the prompt, four of the completion. */
export function costOf(promptTokens: number, completionTokens: number): number {
  return (promptTokens + 4 * completionTokens) / 1_000_000;
}

function usageWithCost(usage: OpenAI.CompletionUsage): object {
  const cost = costOf(usage.prompt_tokens, usage.completion_tokens);
  return { ...usage, cost, is_byok: false, cost_details: { upstream_inference_cost: null } };
}

/** An error in the middle comes as a chunk that is also the last. */
const ERROR_FRAME = sse({
  id: "gen-error",
  object: "chat.completion.chunk",
  created: CREATED,
  model: OPENROUTER_MODEL,
  provider: "OpenAI",
  error: { code: 502, message: "Provider disconnected unexpectedly" },
  choices: [{ index: 0, delta: { content: "" }, finish_reason: "error" }],
});

/**
 * OpenRouter's `/api/v1/chat/completions`: OpenAI's protocol with comments in the stream, which a reader of SSE
 * has to skip, with usage and its cost in every answer, and with an error body of its own. Keys, types and
 * models are checked as by `openai`; fields are OpenAI's and OpenRouter's.
 */
export function openrouter(key: string, answer: Answer = echo): Provider {
  const dialect: ChatDialect = {
    ...openaiDialect(MODELS, answer, ERROR_FRAME),
    schema,
    unknownModel: (model) => ({ status: 400, message: `${model} is not a valid model ID` }),
    refuse: ({ path, message }) => {
      throw new Refusal({ status: 400, message: `${bracketed(path)}: ${message}` });
    },
    checkRequest: checkStreamOptions,
    stamp: { provider: "OpenAI", system_fingerprint: "fp_0000000000" },
    preamble: [": OPENROUTER PROCESSING\n\n", ": OPENROUTER PROCESSING\n\n"],
    usageInStream: "always",
    usage: usageWithCost,
    headers: (id) => ({ "x-generation-id": idOf("gen-", id) }),
  };
  return {
    name: "openrouter",
    routes: {
      "POST /api/v1/chat/completions": (received) => chat(received, dialect),
    },
    authorize: (received) => {
      try {
        authorizeAsOpenai(received, key);
      } catch {
        const message = received.headers.authorization === undefined ? "No auth credentials found" : "User not found.";
        throw new Refusal({ status: 401, message });
      }
    },
    refuse,
    unknownRoute: ({ path }) => ({ status: 404, message: `Not Found: ${path}` }),
    wrongContentType: () => ({ status: 400, message: "Content-Type must be application/json" }),
    failure: (status) => ({ status, message: status === 429 ? "Rate limit exceeded" : "Internal Server Error" }),
  };
}
