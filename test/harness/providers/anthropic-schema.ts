import type Anthropic from "@anthropic-ai/sdk";
import { z } from "zod";

const cacheControl = z.strictObject({ type: z.literal("ephemeral"), ttl: z.enum(["5m", "1h"]).optional() }).nullish();

const textBlock = z.strictObject({
  type: z.literal("text"),
  text: z.string().min(1),
  cache_control: cacheControl,
  citations: z.array(z.unknown()).max(0).nullish(),
});

const imageBlock = z.strictObject({
  type: z.literal("image"),
  source: z.discriminatedUnion("type", [
    z.strictObject({
      type: z.literal("base64"),
      media_type: z.enum(["image/jpeg", "image/png", "image/gif", "image/webp"]),
      data: z.string(),
    }),
    z.strictObject({ type: z.literal("url"), url: z.string() }),
  ]),
  cache_control: cacheControl,
});

const toolUseBlock = z.strictObject({
  type: z.literal("tool_use"),
  id: z.string().regex(/^[a-zA-Z0-9_-]+$/),
  name: z.string(),
  input: z.record(z.string(), z.unknown()),
  cache_control: cacheControl,
  caller: z.record(z.string(), z.unknown()).optional(),
});

const toolResultBlock = z.strictObject({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: z.union([z.string(), z.array(z.discriminatedUnion("type", [textBlock, imageBlock]))]).optional(),
  is_error: z.boolean().optional(),
  cache_control: cacheControl,
});

const message = z.discriminatedUnion("role", [
  z.strictObject({
    role: z.literal("user"),
    content: z.union([
      z.string().min(1),
      z.array(z.discriminatedUnion("type", [textBlock, imageBlock, toolResultBlock])).min(1),
    ]),
  }),
  z.strictObject({
    role: z.literal("assistant"),
    content: z.union([z.string().min(1), z.array(z.discriminatedUnion("type", [textBlock, toolUseBlock])).min(1)]),
  }),
]);

const tool = z.strictObject({
  type: z.literal("custom").nullish(),
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,128}$/),
  description: z.string().optional(),
  input_schema: z.looseObject({ type: z.literal("object") }),
  cache_control: cacheControl,
  strict: z.boolean().optional(),
  eager_input_streaming: z.boolean().nullish(),
});

const parallel = z.boolean().optional();
const toolChoice = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("auto"), disable_parallel_tool_use: parallel }),
  z.strictObject({ type: z.literal("any"), disable_parallel_tool_use: parallel }),
  z.strictObject({ type: z.literal("tool"), name: z.string(), disable_parallel_tool_use: parallel }),
  z.strictObject({ type: z.literal("none") }),
]);

/** The compiler holds these names to those of the SDK. */
type Name = keyof Anthropic.MessageCreateParams;

/** What this server doesn't do is refused, not ignored: thinking, containers, output schemas, citations. */
const fields = {
  max_tokens: z.int().min(1),
  messages: z.array(message).min(1),
  model: z.string(),
  cache_control: cacheControl,
  container: z.null().optional(),
  diagnostics: z.null().optional(),
  inference_geo: z.string().nullish(),
  metadata: z.strictObject({ user_id: z.string().nullish() }).optional(),
  output_config: z.undefined().optional(),
  service_tier: z.enum(["auto", "standard_only"]).optional(),
  speed: z.literal("standard").nullish(),
  stop_sequences: z.array(z.string()).optional(),
  stream: z.boolean().optional(),
  system: z.union([z.string(), z.array(textBlock)]).optional(),
  thinking: z.strictObject({ type: z.literal("disabled") }).optional(),
  tool_choice: toolChoice.optional(),
  tools: z.array(tool).optional(),
  user_profile_id: z.undefined().optional(),
  workspace_id: z.undefined().optional(),
} satisfies Record<Name, z.ZodType>;

const latest = z.strictObject(fields);

/** What each `anthropic-version` takes: the sampling settings ended with the last. */
export const SCHEMAS = {
  "2023-06-01": latest.extend({
    temperature: z.number().min(0).max(1).optional(),
    top_k: z.int().min(0).optional(),
    top_p: z.number().min(0).max(1).optional(),
  }),
  "2026-10-21": latest,
};

export type MessagesRequest = z.output<typeof latest>;
export type AnthropicMessage = z.output<typeof message>;
