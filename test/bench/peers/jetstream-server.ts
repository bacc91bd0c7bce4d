import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findServerProgram } from "../../../daemon/src/broker/server-program.ts";

export interface JetStreamServer {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** A nats-server with JetStream over a folder, on a free port; `always`: each write is durable before it is answered. */
export async function startJetStream(store: string, sync: "default" | "always"): Promise<JetStreamServer> {
  const { file } = await findServerProgram(process.env);
  await mkdir(store, { recursive: true });
  const folder = await mkdtemp(join(store, "run-"));
  const config = join(folder, "nats.conf");
  const interval = sync === "always" ? "sync_interval: always" : "";
  await writeFile(config, `jetstream { store_dir: ${JSON.stringify(store)}\n${interval} }\n`);
  const args = ["-a", "127.0.0.1", "-p", "-1", "-c", config, "--ports_file_dir", folder];
  const child = spawn(file, args, { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
  };
  try {
    const pid = child.pid ?? 0;
    return { url: await urlOf(folder, pid), pid, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function urlOf(folder: string, pid: number): Promise<string> {
  for (let i = 0; i < 500; i++) {
    const name = (await readdir(folder)).find((file) => file.endsWith(`_${pid}.ports`));
    const text = name === undefined ? "" : await readFile(join(folder, name), "utf8");
    const url = /"nats":\s*\[\s*"([^"]+)"/.exec(text)?.[1];
    if (url !== undefined && text.trimEnd().endsWith("}")) return url;
    await sleep(10);
  }
  throw new Error("nats-server did not start");
}
