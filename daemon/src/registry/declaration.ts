import { readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { asVlinderError, invalid, VlinderError } from "@vlinder/protocol";
import { splitCommandLine } from "../processes/command-line.ts";
import type { Config } from "./config.ts";
import type { Home } from "./home.ts";
import { type Manifest, manifestOf } from "./manifest.ts";
import { type ResolvedUri, resolveUri } from "./storage-uri.ts";
import { readTomlFile, type TomlSource } from "./toml-source.ts";

/** An agent.toml that was read and checked, and where its storage would lie. */
export interface Declaration {
  /** The folder of agent.toml, real. */
  readonly dir: string;
  readonly source: TomlSource;
  readonly manifest: Manifest;
  readonly objects: ResolvedUri;
  readonly vectors: ResolvedUri | null;
}

/** Makes and changes nothing. @throws not_found: no agent.toml; invalid, with file, line and column */
export async function readDeclaration(dir: string, home: Home, config: Config): Promise<Declaration> {
  const source = await readTomlFile(join(await folderOf(dir), "agent.toml"));
  if (source === null) {
    throw new VlinderError("not_found", `there is no agent.toml in ${dir}`, {
      remedy: `\`vlinder agent new DIR\` makes a folder with one`,
      details: { dir },
    });
  }
  const manifest = manifestOf(source, Object.keys(config.backends), config.providers);
  checkExecutable(source, manifest);
  const resolve = async (key: "object_storage" | "vector_storage", uri: string, fallback: string) => {
    try {
      return await resolveUri(uri, { ...uriRules(home, config, manifest.name), fallback });
    } catch (error) {
      const { message, remedy } = asVlinderError(error);
      throw source.error([key], "value", message, remedy ?? "name another place");
    }
  };
  const { objectStorage, vectorStorage } = manifest;
  const objects = await resolve("object_storage", objectStorage, config.storage.objects);
  const vectors =
    vectorStorage === null ? null : await resolve("vector_storage", vectorStorage, config.storage.vectors);
  if (vectors !== null && vectors.path !== null && vectors.path === objects.path) {
    throw source.error(["vector_storage"], "value", "object_storage is in the same file", "name another file");
  }
  return { dir: await realpath(dir), source, manifest, objects, vectors };
}

/** Here and not in the schema: what is registered already is served, whatever its executable. */
function checkExecutable(source: TomlSource, { runtime, executable }: Manifest): void {
  if (runtime !== "process" || executable === null) return;
  try {
    splitCommandLine(executable);
  } catch (error) {
    const { message, remedy } = asVlinderError(error);
    throw source.error(["executable"], "value", message, remedy ?? "correct it");
  }
}

/** What a storage URI of an agent may be, but for what `default` means. */
export function uriRules(home: Home, config: Config, name: Manifest["name"]) {
  return {
    folder: home.agentFolder(name),
    outside: config.storage.outside,
    schemes: Object.keys(config.backends),
  };
}

async function folderOf(dir: string): Promise<string> {
  try {
    await readdir(dir);
    return dir;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOTDIR") {
      throw invalid(`${dir} is a file`, { remedy: "name the folder that holds agent.toml", cause });
    }
    throw new VlinderError("not_found", `the folder ${dir} can't be read: ${message}`, {
      remedy: "name the folder that holds agent.toml",
      details: { dir },
      cause,
    });
  }
}
