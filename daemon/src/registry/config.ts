import { isAbsolute } from "node:path";
import { asVlinderError, type DatabasesMode, invalid, type SyncWhen } from "@vlinder/protocol";
import { z } from "zod";
import { readEnvironment } from "./config-env.ts";
import { checkBucketUri } from "../sync/buckets/bucket-uri.ts";
import type { SyncSettings } from "../sync/schedule/settings.ts";
import type { Home } from "./home.ts";
import { providersOf, providersSchema, type ProviderTable } from "./provider-config.ts";
import { bytesOf, duration, millisecondsOf, size, wait, waitOf } from "./quantities.ts";
import { BUILT_IN_SCHEMES } from "./storage-uri.ts";
import { checkToml, messageOf, shown } from "./toml-check.ts";
import { readTomlFile, TomlSource } from "./toml-source.ts";

export const SYNC_WHEN = ["turn", "interval", "manual"] as const satisfies readonly SyncWhen[];

export const DATABASES_MODES = ["daily", "turn", "off"] as const satisfies readonly DatabasesMode[];

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const absolute = z.string().superRefine((path, context) => {
  if (!isAbsolute(path)) context.addIssue(`must be an absolute path, not ${shown(path)}`);
});
const text = z.string().min(1);
const bucketUri = text.superRefine((uri, context) => {
  if (uri === "") return;
  try {
    checkBucketUri(uri);
  } catch (error) {
    const { message, remedy = "" } = asVlinderError(error);
    context.addIssue(`"bucket" is ${message}; ${remedy}`);
  }
});
const grace = duration.refine((value) => millisecondsOf(value) >= 24 * 3_600_000, {
  error: (issue) => `"grace" must be at least "1d", not ${shown(issue.input)}`,
});

const port = z.custom<number>((value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65_535, {
  error: (issue) => `"port" must be an integer from 0 (any free one) to 65535, not ${shown(issue.input)}`,
});

function checkSchemes(backends: Readonly<Record<string, string>>, context: z.RefinementCtx): void {
  for (const name of Object.keys(backends)) {
    const issue = (message: string): void => context.addIssue({ code: "custom", path: [name], message });
    if (!/^[a-z][a-z0-9+.-]*$/.test(name)) {
      issue(`${shown(name)} can't be a URI scheme: a-z first, then a-z, 0-9, +, . and -`);
    } else if (name === "default" || BUILT_IN_SCHEMES.includes(name)) {
      issue(`${shown(name)} is built in`);
    }
  }
}

const schema = z.strictObject({
  nats: z.strictObject({ url: text.optional(), creds: absolute.optional(), port: port.default(4322) }).prefault({}),
  storage: z
    .strictObject({
      objects: text.default("sqlite://objects.db"),
      vectors: text.default("sqlite://vectors.db"),
      durability: z.enum(["disk", "process"]).default("disk"),
      outside: z.array(absolute).default([]),
      quarantine: duration.default("7d"),
    })
    .prefault({}),
  sync: z
    .strictObject({
      bucket: bucketUri.optional(),
      when: z.enum(SYNC_WHEN).default("turn"),
      interval: wait("5s", "24h").default("5m"),
      quiet: wait("0s", "1h").default("5s"),
      pull_budget: wait("0s", "8s").default("2s"),
      grace: grace.default("7d"),
      push_distance: wait("0s", "1h").optional(),
      stop_push: wait("0s", "30s").default("5s"),
      databases: z.enum(DATABASES_MODES).optional(),
    })
    .prefault({}),
  limits: z.strictObject({ storage: size.optional() }).prefault({}),
  log: z.strictObject({ level: z.enum(LOG_LEVELS).default("info") }).prefault({}),
  backends: z.record(z.string(), text).superRefine(checkSchemes).prefault({}),
  providers: providersSchema.prefault({}),
});

/** The daemon's configuration: config.toml, with the environment on top, checked and whole. */
export interface Config {
  /** `url` null: the daemon starts a server of its own, on `port` (0: any free one). */
  readonly nats: { readonly url: string | null; readonly creds: string | null; readonly port: number };
  readonly storage: {
    /** What `object_storage = "default"` stands for. */
    readonly objects: string;
    readonly vectors: string;
    readonly durability: "disk" | "process";
    /** Absolute folders in which agents' storage may lie besides their own. */
    readonly outside: readonly string[];
    /** How long what a collection drops can be brought back, in milliseconds. */
    readonly quarantine: number;
  };
  /** In bytes, of each agent whose agent.toml has no limit; null: none. */
  readonly limits: { readonly storage: number | null };
  /** `bucket` null: memory is kept only here. */
  readonly sync: SyncSettings & {
    readonly bucket: string | null;
    /** How long replaced packs stay in the bucket for machines that are away, in milliseconds. */
    readonly grace: number;
    /** When databases are copied to the bucket, of agents whose agent.toml does not say; null: what suits the kind of bucket. */
    readonly databases: DatabasesMode | null;
  };
  readonly log: { readonly level: LogLevel };
  /** URI scheme → npm package that exports its factory. */
  readonly backends: Readonly<Record<string, string>>;
  /** Name → provider of models: built-in ones, and those of [providers]. */
  readonly providers: ProviderTable;
}

/** Reads `config.toml` (there need be none) and the environment. @throws invalid, with the place */
export async function loadConfig(home: Home, env: NodeJS.ProcessEnv = process.env): Promise<Config> {
  return configOf((await readTomlFile(home.config)) ?? new TomlSource("", home.config), env);
}

/** The configuration that a text and an environment make. @throws invalid */
export function configOf(source: TomlSource, env: NodeJS.ProcessEnv): Config {
  // The file is checked by itself first, so that its errors have its positions.
  const file = checkToml(source, schema);
  const sections = Object.fromEntries(
    Object.entries(schema.shape).map(([section, fields]) => [section, keysOf(fields)]),
  );
  const set = readEnvironment(env, sections);
  const merged = schema.safeParse(withSettings(source.table, set), { error: messageOf });
  if (!merged.success) {
    const issue = merged.error.issues[0];
    const place = (issue?.path ?? []).map(String);
    const from = set.find((one) => pathOf(one).every((part, i) => part === place[i]));
    throw invalid(`environment: ${from?.variable ?? "VLINDER_…"}: ${issue?.message ?? "not valid"}`, {
      remedy: "correct or unset the variable",
      details: { variable: from?.variable ?? null },
    });
  }
  const { nats, sync, storage, limits, providers, ...rest } = set.length === 0 ? file : merged.data;
  return {
    ...rest,
    nats: { url: nats.url ?? null, creds: nats.creds ?? null, port: nats.port },
    storage: { ...storage, quarantine: millisecondsOf(storage.quarantine) },
    limits: { storage: limits.storage === undefined ? null : bytesOf(limits.storage) },
    sync: {
      bucket: sync.bucket ?? null,
      when: sync.when,
      interval: waitOf(sync.interval),
      quiet: waitOf(sync.quiet),
      pullBudget: waitOf(sync.pull_budget),
      pushDistance: sync.push_distance === undefined ? null : waitOf(sync.push_distance),
      stopPush: waitOf(sync.stop_push),
      grace: millisecondsOf(sync.grace),
      databases: sync.databases ?? null,
    },
    providers: providersOf(providers),
  };
}

/** The keys of a section, and how an environment variable's text becomes a value; null: any key. */
function keysOf(section: z.ZodType): Readonly<Record<string, "text" | "number" | "list">> | null {
  const object = section instanceof z.ZodPrefault ? section.unwrap() : section;
  if (!(object instanceof z.ZodObject)) return null;
  return Object.fromEntries(
    Object.keys(object.shape as object).map((key) => [
      key,
      key === "port" ? "number" : key === "outside" ? "list" : "text",
    ]),
  );
}

type Setting = Pick<ReturnType<typeof readEnvironment>[number], "section" | "key" | "value">;

/** Where in the file the setting would be: VLINDER_PROVIDERS_GPU_BOX_KEY_ENV is `key_env` of [providers.gpu-box]. */
function pathOf({ section, key }: Setting): string[] {
  const [, name, field] = (section === "providers" && /^(.+)_(url|protocol|key_env|key_file)$/.exec(key)) || [];
  return name === undefined || field === undefined ? [section, key] : [section, name.replaceAll("_", "-"), field];
}

function withSettings(table: Readonly<Record<string, unknown>>, settings: readonly Setting[]): Record<string, unknown> {
  const merged = structuredClone(table) as Record<string, unknown>;
  for (const setting of settings) {
    const path = pathOf(setting);
    const last = path.pop() as string;
    let place = merged;
    for (const part of path) place = (place[part] ??= {}) as Record<string, unknown>;
    place[last] = setting.value;
  }
  return merged;
}
