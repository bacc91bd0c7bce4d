import { type AgentName, invalid, VlinderError } from "@vlinder/protocol";
import type { Manifest } from "../registry/manifest.ts";
import { type ProviderProtocol, spokenBy } from "../registry/provider-config.ts";
import type { Providers } from "./providers.ts";

interface Declaring {
  readonly name: AgentName;
  readonly manifest: Manifest | null;
}

/**
 * Whether a turn's calls can go to another provider or model than agent.toml says: it has to be configured, and nothing is
 * translated, so it has to speak what the agent does. @throws invalid, not_declared (the agent calls no model)
 */
export function requireExchangeable(
  { name, manifest }: Declaring,
  { provider, model }: { readonly provider?: string | undefined; readonly model?: string | undefined },
  providers: Providers,
): void {
  if (provider === undefined && model === undefined) return;
  const other = provider === undefined ? null : providers.named(provider);
  const infer = manifest?.services.infer ?? null;
  if (infer === null) {
    throw new VlinderError("not_declared", `the agent "${name}" declares no service "infer": it calls no model`, {
      details: { agent: name },
      remedy: "leave the provider and the model out",
    });
  }
  if (other === null) return;
  const declared = Object.hasOwn(providers.table, infer.provider) ? providers.table[infer.provider] : undefined;
  const spoken: readonly ProviderProtocol[] =
    infer.protocol === null ? (declared === undefined ? [] : spokenBy(declared)) : [infer.protocol];
  // Of a provider that is configured no more it is not known what the agent speaks.
  if (spoken.length === 0 || spoken.some((one) => spokenBy(other).includes(one))) return;
  const fitting = Object.values(providers.table).filter((one) => spoken.some((way) => spokenBy(one).includes(way)));
  throw invalid(
    `the agent "${name}" speaks ${spoken.join(", ")}, and the provider "${other.name}" ${spokenBy(other).join(", ")}: nothing is translated`,
    {
      details: { agent: name, provider: other.name, speaks: spoken },
      remedy: `these speak it: ${fitting.map((one) => one.name).join(", ")}`,
    },
  );
}
