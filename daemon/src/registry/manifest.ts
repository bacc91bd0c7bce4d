import {
  type AgentName,
  asVlinderError,
  type Contract,
  type DatabasesMode,
  LIMITS,
  MERGE_POLICIES,
  MERGE_RULES,
  type MergePolicy,
  type Metric,
  METRICS,
  parseAgentName,
  parseKeyPrefix,
  type SyncWhen,
} from "@vlinder/protocol";
import { z } from "zod";
import { DATABASES_MODES, SYNC_WHEN } from "./config.ts";
import { PROVIDER_PROTOCOLS, type ProviderProtocol, type ProviderTable, spokenBy } from "./provider-config.ts";
import { bytesOf, duration, secondsOf, size, timeLimit } from "./quantities.ts";
import { unknownScheme } from "./storage-uri.ts";
import { checkToml, shown, unknownName } from "./toml-check.ts";
import type { TomlSource } from "./toml-source.ts";

/** A model service that an agent may call. */
export interface Service {
  /** As config.toml or vlinder itself names it. */
  readonly provider: string;
  /** What the agent's own SDK speaks; null: the provider's. */
  readonly protocol: ProviderProtocol | null;
  readonly models: readonly string[];
}

/** What agent.toml declares; null is what it leaves out. */
export interface Manifest {
  readonly name: AgentName;
  readonly description: string | null;
  /** Who starts it: the daemon ("process"), or something else. */
  readonly runtime: "external" | "process";
  /** Relative to agent.toml; there when the runtime is "process". */
  readonly executable: string | null;
  /** URIs as written; `resolveUri` finds their places. */
  readonly objectStorage: string;
  readonly vectorStorage: string | null;
  /** There exactly when `vectorStorage` is. */
  readonly vectors: { readonly dimension: number | null; readonly metric: Metric } | null;
  readonly services: { readonly infer: Service | null; readonly embed: Service | null };
  readonly syncWhen: SyncWhen | null;
  readonly syncDatabases: DatabasesMode | null;
  /** How long every commit's state is kept, then turn ends, like "90d". */
  readonly retention: { readonly states: string | null; readonly turns: string | null };
  /** Key prefix → policy. */
  readonly merge: Readonly<Record<string, MergePolicy>>;
  /** In bytes, and of one turn in seconds. */
  readonly limits: { readonly storage: number | null; readonly turn: number | null };
}

/**
 * Checks agent.toml; `schemes` are those of [backends], `providers` those of config.toml: null for a manifest that was
 * registered before, since a provider that went must not keep the agent's memory from being served.
 * @throws invalid, with file, line and column
 */
export function manifestOf(source: TomlSource, schemes: readonly string[], providers: ProviderTable | null): Manifest {
  const file = checkToml(source, manifestSchema(schemes, providers));
  const { infer, embed } = file.requirements.services;
  return {
    name: parseAgentName(file.name),
    description: file.description ?? null,
    runtime: file.runtime,
    executable: file.executable ?? null,
    objectStorage: file.object_storage,
    vectorStorage: file.vector_storage ?? null,
    vectors:
      file.vector_storage === undefined
        ? null
        : { dimension: file.vectors?.dimension ?? null, metric: file.vectors?.metric ?? "cosine" },
    services: { infer: serviceOf(infer), embed: serviceOf(embed) },
    syncWhen: file.sync.when ?? null,
    syncDatabases: file.sync.databases ?? null,
    retention: { states: file.retention.states ?? null, turns: file.retention.turns ?? null },
    merge: file.merge as Record<string, MergePolicy>,
    limits: {
      storage: file.limits.storage === undefined ? null : bytesOf(file.limits.storage),
      turn: file.limits.turn === undefined ? null : secondsOf(file.limits.turn),
    },
  };
}

/** The portable part: what every machine must agree on. */
export function contractOf(manifest: Manifest): Contract {
  const { states, turns } = manifest.retention;
  const { vectors } = manifest;
  return {
    v: 1,
    name: manifest.name,
    merge: { rules: MERGE_RULES, policies: manifest.merge },
    ...(states === null && turns === null
      ? {}
      : { retention: { ...(states === null ? {} : { states }), ...(turns === null ? {} : { turns }) } }),
    ...(vectors === null
      ? {}
      : {
          vectors: {
            metric: vectors.metric,
            ...(vectors.dimension === null ? {} : { dimension: vectors.dimension }),
          },
        }),
  };
}

function serviceOf(service: z.output<ReturnType<typeof serviceSchema>> | undefined): Service | null {
  if (service === undefined) return null;
  return { provider: service.provider, protocol: service.protocol ?? null, models: service.models };
}

const text = z.string().min(1);

function serviceSchema(providers: ProviderTable | null) {
  return z
    .strictObject({
      provider: text,
      protocol: z
        .enum(PROVIDER_PROTOCOLS, {
          error: (issue) =>
            typeof issue.input === "string" ? unknownName("protocol", issue.input, PROVIDER_PROTOCOLS) : undefined,
        })
        .optional(),
      models: z.array(text).min(1),
    })
    .superRefine(({ provider, protocol }, context) => {
      if (providers === null) return;
      const known = Object.hasOwn(providers, provider) ? providers[provider] : undefined;
      const issue = (path: string, message: string): void =>
        context.addIssue({ code: "custom", path: [path], message });
      if (known === undefined) {
        issue(
          "provider",
          `${unknownName("provider", provider, Object.keys(providers))} (others: [providers.NAME] in config.toml)`,
        );
      } else if (protocol !== undefined && !spokenBy(known).includes(protocol)) {
        const spoken = spokenBy(known).join(", ");
        issue("protocol", `provider ${shown(provider)} speaks ${spoken}, not ${protocol}; nothing is translated`);
      }
    });
}

const dimension = z.custom<number>(
  (value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= LIMITS.dimension,
  { error: (issue) => `"dimension" must be an integer from 1 to ${LIMITS.dimension}, not ${shown(issue.input)}` },
);

/** What a parser that throws has against a text; null when nothing. */
function complaint(parse: (text: string) => unknown, value: string): string | null {
  try {
    parse(value);
    return null;
  } catch (error) {
    const { message, remedy } = asVlinderError(error);
    return remedy === undefined ? message : `${message}; ${remedy}`;
  }
}

function storage(schemes: readonly string[], missing: string | null) {
  const error = missing === null ? {} : { error: required(missing) };
  return z.string(error).superRefine((uri, context) => {
    const wrong = unknownScheme(uri, schemes);
    if (wrong !== null) context.addIssue(wrong);
  });
}

function required(message: string) {
  return (issue: { readonly input?: unknown }): string | undefined => (issue.input === undefined ? message : undefined);
}

function manifestSchema(schemes: readonly string[], providers: ProviderTable | null) {
  const service = serviceSchema(providers);
  return z
    .strictObject({
      name: z
        .string({ error: required('"name" is required: the name that the agent is called by') })
        .superRefine((name, context) => {
          const wrong = complaint(parseAgentName, name);
          if (wrong !== null) context.addIssue(wrong);
        }),
      description: z.string().optional(),
      runtime: z.enum(["external", "process"]).default("external"),
      executable: text.optional(),
      object_storage: storage(
        schemes,
        '"object_storage" is required, as history lives there; write object_storage = "sqlite://objects.db"',
      ),
      vector_storage: storage(schemes, null).optional(),
      vectors: z.strictObject({ dimension: dimension.optional(), metric: z.enum(METRICS).optional() }).optional(),
      requirements: z
        .strictObject({
          services: z.strictObject({ infer: service.optional(), embed: service.optional() }).prefault({}),
        })
        .prefault({}),
      sync: z
        .strictObject({ when: z.enum(SYNC_WHEN).optional(), databases: z.enum(DATABASES_MODES).optional() })
        .prefault({}),
      retention: z.strictObject({ states: duration.optional(), turns: duration.optional() }).prefault({}),
      merge: z.record(z.string(), z.string()).superRefine(checkMerge).prefault({}),
      limits: z.strictObject({ storage: size.optional(), turn: timeLimit.optional() }).prefault({}),
    })
    .superRefine((file, context) => {
      if (file.runtime === "process" && file.executable === undefined) {
        context.addIssue({
          code: "custom",
          path: ["runtime"],
          message: 'runtime "process" needs an "executable": the command that starts the agent, like "node main.ts"',
        });
      }
      if (file.vectors !== undefined && file.vector_storage === undefined) {
        context.addIssue({
          code: "custom",
          path: ["vectors"],
          message: '[vectors] needs "vector_storage"; write vector_storage = "sqlite://vectors.db" above it',
        });
      }
    });
}

function checkMerge(policies: Readonly<Record<string, string>>, context: z.RefinementCtx): void {
  for (const [prefix, policy] of Object.entries(policies)) {
    const issue = (message: string): void => context.addIssue({ code: "custom", path: [prefix], message });
    const wrong = complaint(parseKeyPrefix, prefix);
    if (wrong !== null) issue(wrong);
    if (!(MERGE_POLICIES as readonly string[]).includes(policy)) {
      issue(unknownName("merge policy", policy, MERGE_POLICIES));
    }
  }
}
