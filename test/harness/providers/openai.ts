import { chat, CREATED, openaiDialect } from "./openai-chat.ts";
import { embeddings } from "./openai-embeddings.ts";
import { ResponsesApi } from "./openai-responses.ts";
import {
  authorizeAsOpenai,
  failureAsOpenai,
  openaiError,
  refuseAsOpenai,
  refuseFlaw,
  unknownRouteAsOpenai,
  wrongContentTypeAsOpenai,
} from "./openai-wire.ts";
import { echo, type Answer } from "./generation.ts";
import { json, sse, type Provider, type Whole } from "./provider.ts";

export const OPENAI_MODELS: ReadonlySet<string> = new Set(["gpt-4.1-mini"]);
export const OPENAI_EMBEDDING_MODELS: ReadonlyMap<string, number> = new Map([["text-embedding-3-small", 1536]]);

/** The body of `GET /v1/models`. */
export function modelList(names: Iterable<string>, owner: string): Whole {
  const data = [...names].map((id) => ({ id, object: "model", created: CREATED, owned_by: owner }));
  return json({ object: "list", data });
}

/**
 * OpenAI: Chat Completions, Responses, Embeddings, Models. Every request has to bring `Authorization: Bearer`
 * with exactly this key, every POST `Content-Type: application/json`; fields that the SDK's own types don't
 * have are refused, and so is a wrong type, a tool's message without its call, a model that isn't one of these.
 */
export function openai(key: string, answer: Answer = echo): Provider {
  const errorFrame = sse(openaiError({ status: 500, message: "The server had an error processing your request." }));
  const dialect = openaiDialect(OPENAI_MODELS, answer, errorFrame);
  const responses = new ResponsesApi(OPENAI_MODELS, answer);
  return {
    name: "openai",
    routes: {
      "POST /v1/chat/completions": (received) => chat(received, dialect),
      "POST /v1/responses": (received) => responses.create(received),
      "POST /v1/embeddings": (received) =>
        embeddings(received, {
          models: OPENAI_EMBEDDING_MODELS,
          unknownModel: (model) => dialect.unknownModel(model),
          refuse: refuseFlaw,
        }),
      "GET /v1/models": () => modelList([...OPENAI_MODELS, ...OPENAI_EMBEDDING_MODELS.keys()], "system"),
    },
    authorize: (received) => authorizeAsOpenai(received, key),
    refuse: refuseAsOpenai,
    unknownRoute: unknownRouteAsOpenai,
    wrongContentType: wrongContentTypeAsOpenai,
    failure: failureAsOpenai,
  };
}
