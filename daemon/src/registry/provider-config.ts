import { z } from "zod";
import { shown } from "./toml-check.ts";

export const PROVIDER_PROTOCOLS = ["openai", "anthropic", "ollama"] as const;
export type ProviderProtocol = (typeof PROVIDER_PROTOCOLS)[number];

/** A provider of models: a built-in one, or a table [providers.<name>] of config.toml. */
export interface ProviderConfig {
  readonly name: string;
  /** Without a slash at its end: what an SDK of the protocol takes as its base URL. */
  readonly url: string;
  readonly protocol: ProviderProtocol;
  /** A variable of the daemon's environment that config.toml names. */
  readonly keyEnv: string | null;
  /** An absolute path that config.toml names. */
  readonly keyFile: string | null;
  /** The variable that everybody uses for this provider, where config.toml names none. */
  readonly usualEnv: string | null;
  /** Calls without a key are refused. */
  readonly needsKey: boolean;
  /** Asked with GET to find out whether the key is taken. */
  readonly probe: string;
}

export type ProviderTable = Readonly<Record<string, ProviderConfig>>;

type Defaults = Pick<ProviderConfig, "url" | "protocol" | "usualEnv" | "needsKey" | "probe">;

const BUILT_IN: Readonly<Record<string, Defaults>> = {
  ollama: {
    url: "http://127.0.0.1:11434",
    protocol: "ollama",
    usualEnv: null,
    needsKey: false,
    probe: "/api/tags",
  },
  openai: {
    url: "https://api.openai.com/v1",
    protocol: "openai",
    usualEnv: "OPENAI_API_KEY",
    needsKey: true,
    probe: "/models",
  },
  anthropic: {
    url: "https://api.anthropic.com",
    protocol: "anthropic",
    usualEnv: "ANTHROPIC_API_KEY",
    needsKey: true,
    probe: "/v1/models",
  },
  openrouter: {
    url: "https://openrouter.ai/api/v1",
    protocol: "openai",
    usualEnv: "OPENROUTER_API_KEY",
    needsKey: true,
    // Its list of models is public and says nothing of the key.
    probe: "/key",
  },
};

const PROBES: Readonly<Record<ProviderProtocol, string>> = {
  openai: "/models",
  anthropic: "/v1/models",
  ollama: "/api/tags",
};

/** The name is a file's, too. */
const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;

const providerSchema = z.strictObject({
  url: z
    .string()
    .superRefine((url, context) => {
      const wrong = urlComplaint(url);
      if (wrong !== null) context.addIssue(`${shown(url)} ${wrong}`);
    })
    .optional(),
  protocol: z.enum(PROVIDER_PROTOCOLS).optional(),
  key_env: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be the name of an environment variable")
    .optional(),
  key_file: z.string().startsWith("/", "must be an absolute path").optional(),
});

/** The section [providers] of config.toml. */
export const providersSchema = z.record(z.string(), providerSchema).superRefine((providers, context) => {
  for (const [name, { url, key_env, key_file }] of Object.entries(providers)) {
    const issue = (message: string, path: string[] = [name]): void =>
      context.addIssue({ code: "custom", path, message });
    if (!NAME.test(name)) issue(`${shown(name)} can't be a provider's name: a-z, 0-9 and -, at most 64`);
    if (url === undefined && !Object.hasOwn(BUILT_IN, name)) issue(`provider ${shown(name)} needs a "url"`);
    if (key_env !== undefined && key_file !== undefined) {
      issue('either "key_env" or "key_file": two keys would be one too many', [name, "key_file"]);
    }
  }
});

/** All providers that there are: built-in ones, and those of config.toml. */
export function providersOf(section: z.output<typeof providersSchema>): ProviderTable {
  const names = [...new Set([...Object.keys(BUILT_IN), ...Object.keys(section)])];
  return Object.fromEntries(names.map((name) => [name, providerOf(name, section[name] ?? {})]));
}

function providerOf(name: string, given: z.output<typeof providerSchema>): ProviderConfig {
  const known = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
  const protocol = given.protocol ?? known?.protocol ?? "openai";
  const keyEnv = given.key_env ?? null;
  const keyFile = given.key_file ?? null;
  return {
    name,
    url: baseOf(given.url ?? known?.url ?? "", protocol),
    protocol,
    keyEnv,
    keyFile,
    usualEnv: known?.usualEnv ?? null,
    needsKey: (known?.needsKey ?? false) || keyEnv !== null || keyFile !== null,
    probe: known !== undefined && protocol === known.protocol ? known.probe : PROBES[protocol],
  };
}

/** What an agent's SDK may speak to it. Ollama has the other two beside its own. */
export function spokenBy({ protocol }: Pick<ProviderConfig, "protocol">): readonly ProviderProtocol[] {
  return protocol === "ollama" ? ["ollama", "openai", "anthropic"] : [protocol];
}

/** The variables that hold keys: no agent that the daemon starts may have them. */
export function keyVariables(providers: ProviderTable): string[] {
  const names = Object.values(providers).flatMap(({ keyEnv, usualEnv }) => [keyEnv, usualEnv]);
  return [...new Set(names.filter((name) => name !== null))];
}

/** What an OpenAI SDK takes as its base URL ends with the version; who leaves it out means v1. */
function baseOf(text: string, protocol: ProviderProtocol): string {
  const url = new URL(text);
  const base = `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
  if (protocol === "openai") return base === url.origin ? `${base}/v1` : base;
  // Theirs don't: /v1 is in the path of each request.
  return base.replace(/\/v1$/, "");
}

function urlComplaint(text: string): string | null {
  if (!URL.canParse(text)) return "is no URL";
  const { protocol, username, password, search, hash } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") return "is no http:// or https:// URL";
  if (username !== "" || password !== "") return "has a password in it: name a key_env or key_file";
  if (search !== "" || hash !== "") return "has a query or a fragment";
  return null;
}
