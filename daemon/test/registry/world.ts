import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AgentName, parseAgentName } from "@vlinder/protocol";
import { pino } from "pino";
import { configOf } from "../../src/registry/config.ts";
import { openHome } from "../../src/registry/home.ts";
import { Registry } from "../../src/registry/registry.ts";
import { TomlSource } from "../../src/registry/toml-source.ts";
import { FakeStorage } from "./fake-engine.ts";
import { temporaryFolder } from "./folders.ts";

export const TODO = 'name = "todo"\nobject_storage = "sqlite://objects.db"\n';
export const todo: AgentName = parseAgentName("todo");
export const log = pino({ level: "silent" });

/** A home with folders of agents beside it; `start` is a daemon on it. */
export async function world(configToml = "") {
  const root = await temporaryFolder();
  const home = await openHome(join(root, "home"));
  const config = configOf(new TomlSource(configToml.replaceAll("$ROOT", root), "config.toml"), {});
  const storage = new FakeStorage();
  const start = (options: Partial<{ config: typeof config }> = {}) =>
    Registry.open({ home, config, openAgent: storage.openAgent, log, ...options });
  const agentDir = async (folder: string, toml: string) => {
    const dir = join(root, folder);
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, "agent.toml"), toml);
    return dir;
  };
  const record = async (name: AgentName = todo) =>
    JSON.parse(await readFile(join(home.agentFolder(name), "registration.json"), "utf8")) as Record<string, unknown>;
  return { root, home, config, storage, start, agentDir, record };
}
