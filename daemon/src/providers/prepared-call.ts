import { type AgentName, invalid, VlinderError } from "@vlinder/protocol";
import type { Manifest } from "../registry/manifest.ts";
import { spokenBy } from "../registry/provider-config.ts";
import type { Instead } from "../state/turns/turn-ground.ts";
import { declaredModel, requireDeclared } from "./declared-model.ts";
import { type Asked, type Target, targetOf } from "./endpoints.ts";
import { requestHeaders } from "./headers.ts";
import { withModel } from "./other-model.ts";
import type { Providers } from "./providers.ts";

/** What an agent asks for. */
export interface AskedCall extends Asked {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
}

/** A call that may be made: checked, and with the key. */
export interface PreparedCall {
  readonly agent: AgentName;
  readonly asked: AskedCall;
  readonly provider: string;
  readonly target: Target;
  readonly model: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** To be taken out of whatever comes back. */
  readonly key: string | null;
}

/** Checks a call against what the agent declares, and turns it to whom else is asked. Nothing is sent. @throws not_declared, invalid, unavailable, denied */
export async function prepareCall(
  asked: AskedCall,
  agent: AgentName,
  manifest: Manifest | null,
  providers: Providers,
  instead: Instead = {},
): Promise<PreparedCall> {
  const service = manifest?.services[asked.service] ?? null;
  if (service === null) throw undeclared(agent, asked.service, manifest === null);
  const other = asked.service === "infer" ? instead : {};
  const provider =
    other.provider === undefined ? providers.declared(service.provider) : providers.named(other.provider);
  if (other.provider === undefined && service.protocol !== null && !spokenBy(provider).includes(service.protocol)) {
    throw new VlinderError(
      "unavailable",
      `the provider "${provider.name}" speaks ${spokenBy(provider).join(", ")} now, and agent.toml declares ${service.protocol}`,
      { retryable: false, remedy: `correct protocol in agent.toml or in [providers.${provider.name}] of config.toml` },
    );
  }
  const target = targetOf(asked, provider, other.provider === undefined ? service.protocol : null);
  const declared = modelOf(asked, target, service.models);
  const body = other.model === undefined || asked.body === null ? null : withModel(asked.body, other.model);
  const turned = body === null ? asked : { ...asked, body };
  const model = turned === asked ? declared : (other.model ?? declared);
  const found = await providers.requiredKey(provider);
  const key = found?.key ?? null;
  const headers = requestHeaders(asked.headers, target.protocol, key, turned.body?.length ?? null);
  return { agent, asked: turned, provider: provider.name, target, model, headers, key };
}

function modelOf({ method, body }: AskedCall, target: Target, declared: readonly string[]): string | null {
  if (method === "GET") {
    if (target.model === "" || target.model === null) return null;
    requireDeclared(target.model, declared);
    return target.model;
  }
  if (body === null) throw invalid("a POST needs a body", { remedy: "send one JSON object with the model's name" });
  return declaredModel(body, declared);
}

function undeclared(agent: AgentName, service: string, cloned: boolean): VlinderError {
  return new VlinderError("not_declared", `the agent "${agent}" declares no service "${service}"`, {
    details: { agent, service },
    remedy: cloned
      ? "it came by clone: `vlinder agent add DIR` with the folder of its agent.toml says what it may call"
      : `add [requirements.services.${service}] with provider and models to agent.toml and run \`vlinder agent add\` again`,
  });
}
