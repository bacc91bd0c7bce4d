import { writeFile } from "node:fs/promises";
import type { Vlinder } from "@vlinder/agent-runtime";
import type { Stage } from "../stage.ts";
import type { TestDaemon } from "../test-daemon.ts";
import type { MakeFetch } from "./fetch-under-test.ts";
import type { ModelServer } from "./model-server.ts";

/** How the daemon is told of a server. */
interface Told {
  /** What stands before the protocol's paths, as an SDK's base URL has it. */
  readonly base: string;
  readonly protocol: "openai" | "anthropic" | "ollama";
  readonly models: readonly string[];
  readonly embedders: readonly string[];
}

// Each has a model that the server has not, declared all the same: it is the provider that says so.
const TOLD: Readonly<Record<string, Told>> = {
  openai: {
    base: "/v1",
    protocol: "openai",
    models: ["gpt-4.1-mini", "gpt-0"],
    embedders: ["text-embedding-3-small"],
  },
  anthropic: { base: "", protocol: "anthropic", models: ["claude-haiku-4-5", "claude-0"], embedders: [] },
  ollama: { base: "", protocol: "ollama", models: ["llama3.2", "nothing"], embedders: ["nomic-embed-text"] },
  openrouter: {
    base: "/api/v1",
    protocol: "openai",
    models: ["openai/gpt-4.1-mini", "nobody/nothing"],
    embedders: [],
  },
};

/** A daemon that stands between agents and model servers: it has the keys, and the agents have none. */
export class BehindDaemon {
  readonly daemon: TestDaemon;
  readonly #stage: Stage;
  readonly #tables: string[] = [];

  private constructor(stage: Stage, daemon: TestDaemon) {
    this.#stage = stage;
    this.daemon = daemon;
  }

  /** @param environment the daemon's own, besides */
  static async start(stage: Stage, environment: Readonly<Record<string, string>> = {}): Promise<BehindDaemon> {
    const daemon = await stage.newDaemon();
    // Whatever this machine has of it.
    for (const name of ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY"]) daemon.environment[name] = "";
    Object.assign(daemon.environment, environment);
    await daemon.start();
    return new BehindDaemon(stage, daemon);
  }

  /**
   * Tells the running daemon of a server, and registers an agent that declares it, and its models. Both have the name that
   * is given back.
   * @param key of a variable where the daemon's environment has it, else of a file outside of its home; empty: none
   * @param more for agent.toml
   */
  async agentFor(server: ModelServer, key: string, more = ""): Promise<string> {
    const name = `${server.provider.name}-${this.#tables.length + 1}`;
    const { base, protocol, models, embedders } = toldOf(server);
    const table = `[providers.${name}]\nurl = "${server.origin}${base}"\nprotocol = "${protocol}"\n`;
    this.#tables.push(key === "" ? table : `${table}${await this.#placeOf(key)}\n`);
    await this.daemon.configure(this.#tables.join(""));
    const admin = await this.#stage.admin(this.daemon);
    await admin.admin("daemon.reload");
    const service = (of: "infer" | "embed", names: readonly string[]): string =>
      names.length === 0
        ? ""
        : `[requirements.services.${of}]\nprovider = "${name}"\nmodels = ${JSON.stringify(names)}\n`;
    const declares = `object_storage = "default"\n${more}${service("infer", models)}${service("embed", embedders)}`;
    await this.#stage.register(this.daemon, name, declares);
    return name;
  }

  async #placeOf(key: string): Promise<string> {
    const variable = Object.entries(this.daemon.environment).find(([, value]) => value === key)?.[0];
    if (variable !== undefined) return `key_env = "${variable}"`;
    const file = await this.#stage.path("key");
    await writeFile(file, `${key}\n`, { mode: 0o600 });
    return `key_file = "${file}"`;
  }

  /** For the suites: what the agent has in its hands is a `fetch` of the daemon, and a word that is no key. */
  makeFetch(choose: (vlinder: Vlinder) => Promise<typeof fetch>): MakeFetch {
    return async (server, key) => {
      const agent = await this.agentFor(server, key);
      return { fetch: await choose(await this.#stage.sdk(this.daemon, agent)), apiKey: "no-key-but-a-word" };
    };
  }
}

function toldOf({ provider }: ModelServer): Told {
  const told = TOLD[provider.name];
  if (told === undefined) throw new Error(`nobody said how the daemon is told of ${provider.name}`);
  return told;
}
