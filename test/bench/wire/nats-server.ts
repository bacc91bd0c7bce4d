import { spawn } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findServerProgram } from "../../../daemon/src/broker/server-program.ts";
import { isAtLeast } from "../../../daemon/src/broker/version.ts";

/** The first version that can be told to fsync every write of JetStream. */
const SYNC_ALWAYS = "2.10.0";

export interface JetStreamServer {
  readonly url: string;
  stop(): Promise<void>;
}

export async function knowsSyncAlways(): Promise<boolean> {
  return isAtLeast((await findServerProgram(process.env)).version, SYNC_ALWAYS);
}

/** A nats-server with JetStream on a free port; `always`: each write is durable before it is answered. */
export async function startJetStream(folder: string, sync: "default" | "always"): Promise<JetStreamServer> {
  const { file } = await findServerProgram(process.env);
  const config = join(folder, `nats-${sync}.conf`);
  const interval = sync === "always" ? "sync_interval: always" : "";
  await writeFile(config, `jetstream { store_dir: ${JSON.stringify(join(folder, `js-${sync}`))}\n${interval} }\n`);
  const args = ["-a", "127.0.0.1", "-p", "-1", "-c", config, "--ports_file_dir", folder];
  const child = spawn(file, args, { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const url = await urlOf(folder, child.pid);
  return {
    url,
    async stop() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function urlOf(folder: string, pid: number | undefined): Promise<string> {
  for (let i = 0; i < 500; i++) {
    const name = (await readdir(folder)).find((file) => file.endsWith(`_${pid}.ports`));
    const text = name === undefined ? "" : await readFile(join(folder, name), "utf8");
    const url = /"nats":\s*\[\s*"([^"]+)"/.exec(text)?.[1];
    if (url !== undefined && text.trimEnd().endsWith("}")) return url;
    await sleep(10);
  }
  throw new Error("nats-server did not start");
}
