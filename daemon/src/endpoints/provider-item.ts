import { asVlinderError, type ProviderItem } from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { FoundKey } from "../providers/keys.ts";
import type { ProviderConfig } from "../registry/provider-config.ts";

/** Every provider, as people and programs read it. */
export function providerItems(core: Core): Promise<ProviderItem[]> {
  return Promise.all(Object.values(core.providers.table).map((provider) => providerItem(core, provider)));
}

async function providerItem(core: Core, provider: ProviderConfig): Promise<ProviderItem> {
  const { name, url, protocol, needsKey } = provider;
  let found: FoundKey | null = null;
  let error: ProviderItem["key"]["error"] = null;
  try {
    found = await core.providers.key(provider);
  } catch (thrown) {
    error = asVlinderError(thrown).toBody();
  }
  return {
    provider: name,
    url,
    protocol,
    key: { from: found?.from ?? null, place: found?.place ?? null, required: needsKey, error },
    agents: declaring(core, name),
    notes: found !== null && isExposed(url) ? [`the key of "${name}" travels unencrypted: its url is http://`] : [],
  };
}

function declaring({ registry }: Core, provider: string): string[] {
  return registry.list().flatMap(({ name, agent }) => {
    const { infer = null, embed = null } = agent?.manifest?.services ?? {};
    return infer?.provider === provider || embed?.provider === provider ? [name] : [];
  });
}

function isExposed(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "http:" && !/^(?:localhost|127\.[\d.]+|\[::1\])$/.test(hostname);
}
