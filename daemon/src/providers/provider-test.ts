import { asVlinderError, type ProviderTestReply, VlinderError } from "@vlinder/protocol";
import type { ProviderConfig } from "../registry/provider-config.ts";
import { requestHeaders } from "./headers.ts";
import type { Providers } from "./providers.ts";
import { NoAnswer, send } from "./upstream.ts";

/** For the whole of it, in milliseconds. */
const PATIENCE = 15_000;

/** Asks a provider for something cheap that it answers only with a key that it takes. Costs nothing. */
export async function testProvider(provider: ProviderConfig, providers: Providers): Promise<ProviderTestReply> {
  const started = performance.now();
  const reply = (status: number | null, error: unknown): ProviderTestReply => ({
    provider: provider.name,
    url: provider.url,
    ok: error === null,
    status,
    milliseconds: Math.round(performance.now() - started),
    problem: error === null ? null : asVlinderError(error).toBody(),
  });
  try {
    const found = await providers.requiredKey(provider);
    const headers = requestHeaders({}, provider.protocol, found?.key ?? null, null);
    const url = `${provider.url}${provider.probe}`;
    const signal = AbortSignal.timeout(PATIENCE);
    const { response } = await send({ url, method: "GET", headers, body: null, signal });
    response.destroy();
    const status = response.statusCode ?? 0;
    return reply(status, status >= 200 && status < 300 ? null : refused(provider, status));
  } catch (error) {
    return reply(null, error instanceof NoAnswer ? unreachable(provider, error) : error);
  }
}

function refused({ name, url }: ProviderConfig, status: number): VlinderError {
  if (status === 401 || status === 403) {
    return new VlinderError("denied", `the provider "${name}" refused the key (${status})`, {
      remedy: `\`vlinder provider set ${name}\` with a key that is good`,
    });
  }
  return new VlinderError("unavailable", `the provider "${name}" answered with ${status}`, {
    remedy: `look at url = "${url}" in config.toml: it is what an SDK takes as its base URL`,
  });
}

function unreachable({ name, url }: ProviderConfig, error: NoAnswer): VlinderError {
  return new VlinderError("unavailable", `the provider "${name}" can't be reached at ${url}: ${error.message}`, {
    cause: error,
    remedy: name === "ollama" ? "start it: `ollama serve`" : "look at the network, and at its url in config.toml",
  });
}
