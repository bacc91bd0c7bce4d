import type OpenAI from "openai";
import { z } from "zod";
import { parseAsOpenai } from "./openai-wire.ts";
import { check, type Flaw } from "./flaw.ts";
import { tokens, unitVector } from "./generation.ts";
import { json, Refusal, type Problem, type Received, type Whole } from "./provider.ts";

type Name = keyof OpenAI.EmbeddingCreateParams;

const ids = z.array(z.int().min(0)).min(1);

/** Empty text is refused, as it is there. */
const schema = z.strictObject({
  input: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(2048), ids, z.array(ids).min(1).max(2048)]),
  model: z.string(),
  dimensions: z.int().min(1).optional(),
  encoding_format: z.enum(["float", "base64"]).optional(),
  user: z.string().optional(),
} satisfies Record<Name, z.ZodType>);

export interface EmbeddingDialect {
  /** The models' names and the dimensions that they have. */
  readonly models: ReadonlyMap<string, number>;
  unknownModel(model: string): Problem;
  refuse(flaw: Flaw): never;
}

/** One text an input; token ids stand for themselves. */
function textsOf(input: z.output<typeof schema>["input"]): string[] {
  if (typeof input === "string") return [input];
  if (typeof input[0] === "number") return [input.join(" ")];
  return input.map((one) => (Array.isArray(one) ? one.join(" ") : String(one)));
}

/** The vector's 32-bit floats, little end first: what `encoding_format: "base64"` asks for. */
function packed(vector: readonly number[]): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [i, one] of vector.entries()) bytes.writeFloatLE(one, i * 4);
  return bytes.toString("base64");
}

/** `POST /v1/embeddings`: unit vectors, in the order of the inputs. @throws Refusal */
export function embeddings(received: Received, dialect: EmbeddingDialect): Whole {
  const request = check(schema, parseAsOpenai(received), (flaw) => dialect.refuse(flaw));
  const full = dialect.models.get(request.model);
  if (full === undefined) throw new Refusal(dialect.unknownModel(request.model));
  const dimension = request.dimensions ?? full;
  if (dimension > full) {
    const message = `Invalid value for 'dimensions' = ${dimension}. Must be less than or equal to ${full}.`;
    throw new Refusal({ status: 400, message, param: "dimensions" });
  }
  const texts = textsOf(request.input);
  const data = texts.map((text, index) => {
    const vector = unitVector(text, dimension);
    return { object: "embedding", index, embedding: request.encoding_format === "base64" ? packed(vector) : vector };
  });
  const count = texts.reduce((sum, text) => sum + tokens(text).length, 0);
  return json({ object: "list", data, model: request.model, usage: { prompt_tokens: count, total_tokens: count } });
}
