import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { unpackDebian } from "./debian.ts";
import { run, TOOLS } from "./run.ts";

const FOLDER = join(TOOLS, "redis");

export interface RedisProgram {
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
  readonly version: string;
}

/** The redis-server of this machine; else Debian's, unpacked into `.tools`. @throws an Error that says why not */
export async function chooseRedisServer(say: (line: string) => void): Promise<RedisProgram> {
  const installed = (process.env.PATH ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "redis-server"))
    .find((file) => existsSync(file));
  if (installed !== undefined) return await withVersion(installed, process.env);
  const unpacked = join(FOLDER, "usr", "bin", "redis-server");
  if (!existsSync(unpacked)) {
    say("fetching redis-server from Debian into .tools");
    await unpackDebian(["redis-server"], FOLDER);
  }
  const libraries = join(FOLDER, "usr", "lib");
  const folders = existsSync(libraries) ? (await readdir(libraries)).map((name) => join(libraries, name)) : [];
  return await withVersion(unpacked, { ...process.env, LD_LIBRARY_PATH: folders.join(delimiter) });
}

async function withVersion(file: string, env: NodeJS.ProcessEnv): Promise<RedisProgram> {
  const version = /v=(\S+)/.exec(await run(file, ["--version"], { env }))?.[1] ?? "unknown";
  return { file, env, version };
}
