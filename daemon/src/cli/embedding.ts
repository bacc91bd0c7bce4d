import type { AgentName } from "@vlinder/protocol";
import { VlinderError } from "@vlinder/protocol";
import type { Context } from "./context.ts";

/** What agent.toml declares for embeddings; it was checked when it was registered. */
interface Declared {
  readonly protocol?: string;
  readonly models: readonly [string, ...string[]];
}

interface Answer {
  /** OpenAI's form, and Ollama's. */
  readonly data?: readonly { readonly embedding?: unknown }[];
  readonly embeddings?: readonly unknown[];
  readonly error?: { readonly message?: unknown; readonly code?: unknown };
}

/** A text as the agent's own embedding model has it, by a call that is recorded like the agent's. @throws not_declared, unavailable */
export async function embeddingOf(context: Context, agent: AgentName, text: string): Promise<number[]> {
  const client = await context.client();
  const { models, protocol } = declaredBy(
    agent,
    (await client.admin("agents.show", { agent })).manifest,
    await tomlReader(),
  );
  const { providerFetch } = await import("@vlinder/agent-runtime");
  const call = providerFetch({ client, agent });
  const path = protocol === "ollama" ? "/api/embed" : "/v1/embeddings";
  const body = JSON.stringify({ model: models[0], input: [text] });
  const response = await call(`http://vlinder${path}`, { method: "POST", body });
  const answer = (await response.json().catch(() => ({}))) as Answer;
  const vector = answer.data?.[0]?.embedding ?? answer.embeddings?.[0];
  if (response.ok && Array.isArray(vector) && vector.every((one) => typeof one === "number")) return vector;
  const said = typeof answer.error?.message === "string" ? answer.error.message : `no vector came (${response.status})`;
  throw new VlinderError("unavailable", said, {
    retryable: false,
    remedy: "`vlinder provider list` shows who answers for models; or give --vector",
  });
}

type ReadToml = (text: string) => Readonly<Record<string, unknown>>;

async function tomlReader(): Promise<ReadToml> {
  const { TomlSource } = await import("../registry/toml-source.ts");
  return (text) => new TomlSource(text, "agent.toml").table;
}

function declaredBy(agent: AgentName, manifest: string | null, read: ReadToml): Declared {
  const table = (manifest === null ? {} : read(manifest)) as {
    requirements?: { services?: { embed?: Declared } };
  };
  const declared = table.requirements?.services?.embed;
  if (declared !== undefined) return declared;
  throw new VlinderError("not_declared", `the agent "${agent}" declares no service "embed"`, {
    details: { agent, service: "embed" },
    remedy: "add [requirements.services.embed] to its agent.toml, or embed the text yourself and give --vector",
  });
}
