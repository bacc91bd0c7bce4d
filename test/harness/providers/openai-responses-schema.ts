import type OpenAI from "openai";
import { z } from "zod";

const status = z.enum(["in_progress", "completed", "incomplete"]).nullish();

const inputPart = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("input_text"), text: z.string() }),
  z.strictObject({
    type: z.literal("input_image"),
    image_url: z.string().nullish(),
    file_id: z.string().nullish(),
    detail: z.enum(["low", "high", "auto", "original"]).optional(),
  }),
]);

const outputPart = z.strictObject({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.unknown()).optional(),
  logprobs: z.array(z.unknown()).optional(),
});

const message = z.strictObject({
  type: z.literal("message").optional(),
  id: z.string().optional(),
  role: z.enum(["user", "assistant", "system", "developer"]),
  content: z.union([z.string(), z.array(z.union([inputPart, outputPart]))]),
  status,
});

const functionCall = z.strictObject({
  type: z.literal("function_call"),
  id: z.string().nullish(),
  call_id: z.string(),
  name: z.string(),
  arguments: z.string(),
  status,
});

const functionCallOutput = z.strictObject({
  type: z.literal("function_call_output"),
  id: z.string().nullish(),
  call_id: z.string(),
  output: z.union([z.string(), z.array(inputPart)]),
  status,
});

const reference = z.strictObject({ type: z.literal("item_reference"), id: z.string() });

const item = z.union([functionCall, functionCallOutput, reference, message]);

const tool = z.strictObject({
  type: z.literal("function"),
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/),
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});

const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    name: z.string(),
    schema: z.record(z.string(), z.unknown()),
    description: z.string().optional(),
    strict: z.boolean().nullish(),
  }),
]);

const count = z.int().min(1).nullish();

/** The compiler holds these names to those of the SDK. */
type Name = keyof OpenAI.Responses.ResponseCreateParams;

/** What this server doesn't do is refused, not ignored: background, conversations, stored prompts, built-in tools. */
const fields = {
  access_programs: z.undefined().optional(),
  background: z.literal(false).nullish(),
  context_management: z.null().optional(),
  conversation: z.null().optional(),
  image: z.undefined().optional(),
  include: z.array(z.string()).nullish(),
  input: z.union([z.string(), z.array(item).min(1)]),
  instructions: z.string().nullish(),
  max_output_tokens: count,
  max_tool_calls: count,
  metadata: z.record(z.string(), z.string()).nullish(),
  model: z.string(),
  moderation: z.null().optional(),
  parallel_tool_calls: z.boolean().nullish(),
  previous_response_id: z.string().nullish(),
  prompt: z.null().optional(),
  prompt_cache_key: z.string().nullish(),
  prompt_cache_options: z.record(z.string(), z.unknown()).optional(),
  prompt_cache_retention: z.enum(["in_memory", "24h"]).nullish(),
  reasoning: z.record(z.string(), z.unknown()).nullish(),
  safety_identifier: z.string().nullish(),
  service_tier: z.enum(["auto", "default", "flex", "scale", "priority", "fast"]).nullish(),
  store: z.boolean().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_obfuscation: z.boolean().optional() }).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  text: z
    .strictObject({ format: format.optional(), verbosity: z.enum(["low", "medium", "high"]).nullish() })
    .optional(),
  tool_choice: z
    .union([z.enum(["none", "auto", "required"]), z.strictObject({ type: z.literal("function"), name: z.string() })])
    .optional(),
  tools: z.array(tool).optional(),
  top_logprobs: z.literal(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  truncation: z.enum(["auto", "disabled"]).nullish(),
  user: z.string().optional(),
} satisfies Record<Name, z.ZodType>;

export const responsesSchema = z.strictObject(fields);

export type ResponsesRequest = z.output<typeof responsesSchema>;
export type InputItem = z.output<typeof item>;
