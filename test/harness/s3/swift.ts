import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { MEMORY_FOLDER } from "../memory-folder.ts";

const FOLDER = path.resolve(import.meta.dirname, "../../../.tools/swift");

/** Where `npm test` puts it; on systems without apt it says that the tests of it are left out. */
export const HAS_SWIFT = existsSync(FOLDER) || existsSync("/usr/bin/apt-get");

export interface S3Server {
  /** `http://127.0.0.1:<port>` */
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  stop(): Promise<void>;
}

/** Starts OpenStack Swift with its S3 API on a free port, with an empty account. It takes a second or two. */
export async function startSwift(): Promise<S3Server> {
  if (!existsSync(FOLDER)) throw new Error("there is no .tools/swift: `npm test` fetches it");
  // Its databases are synced to disk with each write: memory costs the tests no time.
  const folder = await mkdtemp(path.join(MEMORY_FOLDER, "vlinder-swift-"));
  const keys = { accessKeyId: "test:tester", secretAccessKey: "testing" };
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  const child = spawn(
    "/usr/bin/python3",
    [path.join(import.meta.dirname, "swift-server.py"), folder, keys.accessKeyId, keys.secretAccessKey],
    {
      stdio: ["pipe", "pipe", "pipe"],
      env: {
        PATH: "/usr/bin:/bin",
        HOME: folder,
        PYTHONPATH: path.join(FOLDER, "usr/lib/python3/dist-packages"),
        LD_LIBRARY_PATH: path.join(FOLDER, "usr/lib", `${machine}-linux-gnu`),
        // Both save half a second each of the start.
        EVENTLET_NO_GREENDNS: "yes",
        SETUPTOOLS_USE_DISTUTILS: "stdlib",
      },
    },
  );
  let said = "";
  child.stderr.on("data", (part: Buffer) => (said += part.toString()));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    createInterface(child.stdout).on("line", (line) => resolve(Number(line.replace("PORT ", ""))));
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the S3 server ended with ${code}:\n${said.slice(-2000)}`)));
  });
  return {
    ...keys,
    endpoint: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
