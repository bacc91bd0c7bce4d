import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

export interface NatsServer {
  readonly url: string;
  readonly port: number;
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

function find(): string {
  const places = [
    process.env["VLINDER_NATS_SERVER"] ?? "",
    ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "nats-server")),
    join(root, ".tools/nats/usr/sbin/nats-server"),
    "/usr/sbin/nats-server",
  ];
  const found = places.find((path) => path !== "" && existsSync(path));
  if (found === undefined) throw new Error("no nats-server: npm test fetches it, or set VLINDER_NATS_SERVER");
  return found;
}

/** A real server on a free port, or on the one given; `config` is more of its configuration file. */
export async function startNats(
  options: { readonly port?: number; readonly config?: string } = {},
): Promise<NatsServer> {
  const folder = await mkdtemp(join(tmpdir(), "vlinder-nats-"));
  const config = join(folder, "nats.conf");
  await writeFile(config, options.config ?? "");
  const address = ["-a", "127.0.0.1", "-p", String(options.port ?? -1)];
  const child = spawn(find(), [...address, "--ports_file_dir", folder, "-c", config], { stdio: "ignore" });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const url = await portOf(folder, () => child.exitCode !== null);
  return {
    url,
    port: Number(new URL(url).port),
    async stop() {
      child.kill("SIGKILL");
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function portOf(folder: string, gone: () => boolean): Promise<string> {
  for (let i = 0; i < 500; i++) {
    const file = (await readdir(folder)).find((name) => name.endsWith(".ports"));
    const text = file === undefined ? "" : await readFile(join(folder, file), "utf8");
    if (text.endsWith("}") || text.endsWith("}\n")) {
      const { nats } = JSON.parse(text) as { nats: string[] };
      return nats[0] as string;
    }
    if (gone()) break;
    await sleep(10);
  }
  throw new Error("nats-server did not start");
}
