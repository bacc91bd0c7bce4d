import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
// Doctor tells what vlinderd will find when it starts; it uses nothing else of the broker.
// oxlint-disable-next-line no-restricted-imports
import { findServerProgram } from "../../broker/server-program.ts";
import { type Config, configOf } from "../../registry/config.ts";
import { readTomlFile, TomlSource } from "../../registry/toml-source.ts";
import { shellQuoted } from "../render/shell.ts";
import { attempted, bad, type Finding, ok, skipped } from "./check.ts";

const OLDEST_NODE = [22, 18] as const;

export function checkNode(version: string = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const enough = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  if (enough) return ok("node", version);
  return bad("node", "failed", version, `install Node ${OLDEST_NODE.join(".")} or newer: https://nodejs.org`);
}

/** The home and what is secret in it belong to its owner alone. */
export async function checkHome(home: string): Promise<Finding> {
  return attempted("home", async () => {
    const folder = await statOrNull(home);
    if (folder === null) return ok("home", `${home} is not there yet; vlinderd makes it`);
    const uid = process.getuid?.();
    if (uid !== undefined && folder.uid !== uid) {
      return bad("home", "failed", `${home} belongs to another user`, `sudo chown -R "$USER" ${shellQuoted(home)}`);
    }
    for (const path of [join(home, "creds"), ...(await secretFiles(home)), home]) {
      const found = await statOrNull(path);
      if (found !== null && process.platform !== "win32" && (found.mode & 0o077) !== 0) {
        const mode = (found.mode & 0o777).toString(8);
        const result = path === home ? "warning" : "failed";
        return bad("home", result, `others may use ${path} (mode ${mode})`, `chmod go-rwx ${shellQuoted(path)}`);
      }
    }
    return ok("home", home);
  });
}

async function secretFiles(home: string): Promise<string[]> {
  const folders = [join(home, "creds"), join(home, "creds", "agents")];
  const files = await Promise.all(
    folders.map(async (folder) =>
      (await namesIn(folder)).filter((name) => name.endsWith(".creds")).map((name) => join(folder, name)),
    ),
  );
  return files.flat();
}

async function namesIn(folder: string): Promise<string[]> {
  return (await statOrNull(folder)) === null ? [] : await readdir(folder);
}

async function statOrNull(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** config.toml and the environment, read without making anything. */
export async function checkConfig(
  home: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly finding: Finding; readonly config: Config | null }> {
  const path = join(home, "config.toml");
  let config: Config | null = null;
  const finding = await attempted("config", async () => {
    const source = await readTomlFile(path);
    config = configOf(source ?? new TomlSource("", path), env);
    return ok("config", source === null ? "no config.toml: the defaults" : path);
  });
  return { finding, config };
}

export async function checkServerProgram(config: Config | null, env: NodeJS.ProcessEnv): Promise<Finding> {
  if (config === null) return skipped("nats-server", "config.toml may name a server; correct it first");
  if (config.nats.url !== null) return ok("nats-server", `not needed: config.toml names ${config.nats.url}`);
  return attempted("nats-server", async () => {
    const { file, version } = await findServerProgram(env);
    return ok("nats-server", `${version}   ${file}`);
  });
}
