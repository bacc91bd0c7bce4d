import type { MakeFetch } from "../fetch-under-test.ts";
import { aiSuite } from "./ai-suite.ts";
import { anthropicSuite } from "./anthropic-suite.ts";
import { ollamaSuite } from "./ollama-suite.ts";
import { openaiSuite } from "./openai-suite.ts";
import { openrouterSuite } from "./openrouter-suite.ts";
import { responsesSuite } from "./responses-suite.ts";

/**
 * That the official SDKs work, as they are, with a `fetch`: `openai`, `@anthropic-ai/sdk`, `ollama` and `ai`
 * with its providers, each against the server of its protocol.
 * @param makeFetch called for each server once with the right key and once with a wrong one
 */
export function sdkSuite(name: string, makeFetch: MakeFetch): void {
  openaiSuite(name, makeFetch);
  responsesSuite(name, makeFetch);
  anthropicSuite(name, makeFetch);
  ollamaSuite(name, makeFetch);
  openrouterSuite(name, makeFetch);
  aiSuite(name, makeFetch);
}
