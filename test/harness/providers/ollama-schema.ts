import type { ChatRequest, EmbedRequest, GenerateRequest, Options } from "ollama";
import { z } from "zod";

const number = z.number().optional();
const int = z.int().optional();
const bool = z.boolean().optional();

const options = z.strictObject({
  numa: bool,
  num_ctx: int,
  num_batch: int,
  num_gpu: int,
  main_gpu: int,
  low_vram: bool,
  f16_kv: bool,
  logits_all: bool,
  vocab_only: bool,
  use_mmap: bool,
  use_mlock: bool,
  embedding_only: bool,
  num_thread: int,
  num_keep: int,
  seed: int,
  num_predict: int,
  top_k: int,
  top_p: number,
  min_p: number,
  tfs_z: number,
  typical_p: number,
  repeat_last_n: int,
  temperature: number,
  repeat_penalty: number,
  presence_penalty: number,
  frequency_penalty: number,
  mirostat: int,
  mirostat_tau: number,
  mirostat_eta: number,
  penalize_newline: bool,
  stop: z.array(z.string()).optional(),
} satisfies Record<keyof Options, z.ZodType>);

const toolCall = z.strictObject({
  function: z.strictObject({ name: z.string(), arguments: z.record(z.string(), z.unknown()), index: int }),
});

const message = z.strictObject({
  role: z.enum(["system", "user", "assistant", "tool"]),
  content: z.string().optional(),
  thinking: z.string().optional(),
  images: z.array(z.string()).optional(),
  tool_calls: z.array(toolCall).optional(),
  tool_name: z.string().optional(),
});

const tool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({
    name: z.string().min(1),
    description: z.string().optional(),
    parameters: z.looseObject({ type: z.literal("object") }).optional(),
  }),
});

const format = z.union([z.literal("json"), z.literal(""), z.record(z.string(), z.unknown())]).optional();
const keepAlive = z.union([z.string(), z.number()]).optional();
const nothing = z.undefined().optional();

/** What this server doesn't do is refused, not ignored: thinking, log probabilities, images made. */
export const chatSchema = z.strictObject({
  model: z.string().min(1),
  messages: z.array(message).optional(),
  stream: bool,
  format,
  keep_alive: keepAlive,
  tools: z.array(tool).optional(),
  think: z.literal(false).optional(),
  logprobs: nothing,
  top_logprobs: nothing,
  options: options.optional(),
} satisfies Record<keyof ChatRequest, z.ZodType>);

export const generateSchema = z.strictObject({
  model: z.string().min(1),
  prompt: z.string().optional(),
  suffix: nothing,
  system: z.string().optional(),
  template: nothing,
  context: z.array(z.int()).optional(),
  stream: bool,
  raw: bool,
  format,
  images: z.array(z.string()).optional(),
  keep_alive: keepAlive,
  think: z.literal(false).optional(),
  logprobs: nothing,
  top_logprobs: nothing,
  width: nothing,
  height: nothing,
  steps: nothing,
  options: options.optional(),
} satisfies Record<keyof GenerateRequest, z.ZodType>);

export const embedSchema = z.strictObject({
  model: z.string().min(1),
  input: z.union([z.string(), z.array(z.string())]),
  truncate: bool,
  keep_alive: keepAlive,
  dimensions: z.int().min(1).optional(),
  options: options.optional(),
} satisfies Record<keyof EmbedRequest, z.ZodType>);
