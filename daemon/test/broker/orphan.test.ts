import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { processStart } from "../../src/broker/process-start.ts";
import { newBroker, newHome } from "./harness.ts";

interface Started {
  readonly daemon: ChildProcess;
  readonly pid: number;
  readonly url: string;
}

async function startDaemon(home: string): Promise<Started> {
  const daemon = spawn(process.execPath, [path.join(import.meta.dirname, "start-broker.ts"), home], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void daemon.kill("SIGKILL"));
  const [line] = (await once(daemon.stdout, "data")) as [Buffer];
  return { daemon, ...(JSON.parse(line.toString()) as { pid: number; url: string }) };
}

async function kill(daemon: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exited = once(daemon, "exit");
  daemon.kill(signal);
  await exited;
}

describe("an orphaned nats-server", () => {
  it("kill -9 of the daemon leaves no orphan nats-server: the next start ends the one it left", async () => {
    const home = await newHome();
    const left = await startDaemon(home);
    await kill(left.daemon, "SIGKILL");
    expect(processStart(left.pid)).not.toBeNull();
    const broker = await newBroker(home);
    expect(processStart(left.pid)).toBeNull();
    expect(broker.serverPid).not.toBe(left.pid);
    await broker.stop();
    expect(existsSync(path.join(home, "run", "nats.json"))).toBe(false);
  });

  it("another home's start leaves it alone", async () => {
    const home = await newHome();
    const left = await startDaemon(home);
    onTestFinished(() => void process.kill(left.pid, "SIGKILL"));
    await kill(left.daemon, "SIGKILL");
    const other = await newHome();
    // A home that was copied while its server ran: the record names the first one.
    await mkdir(path.join(other, "run"));
    await writeFile(path.join(other, "run", "nats.json"), await readFile(path.join(home, "run", "nats.json")));
    await newBroker(other);
    expect(processStart(left.pid)).not.toBeNull();
  });

  it("a process that got the recorded pid later is not killed", async () => {
    const home = await newHome();
    const stranger = spawn("sleep", ["60"], { stdio: "ignore" });
    onTestFinished(() => void stranger.kill("SIGKILL"));
    await once(stranger, "spawn");
    await mkdir(path.join(home, "run"));
    const record = { pid: stranger.pid, started: "some other time", home };
    await writeFile(path.join(home, "run", "nats.json"), JSON.stringify(record));
    await newBroker(home);
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
    expect(processStart(stranger.pid ?? 0)).not.toBeNull();
  });

  it("a record that a crash cut off does not stop the start", async () => {
    const home = await newHome();
    await mkdir(path.join(home, "run"));
    await writeFile(path.join(home, "run", "nats.json"), '{"pid": 12');
    await newBroker(home);
  });

  it("a daemon that ends without stopping takes its server along", async () => {
    const home = await newHome();
    const script = path.join(home, "exit.ts");
    const broker = JSON.stringify(path.resolve(import.meta.dirname, "../../src/broker/own-broker.ts"));
    const roles = JSON.stringify(path.resolve(import.meta.dirname, "../../src/broker/permissions.ts"));
    await writeFile(
      script,
      `const { startOwnBroker } = await import(${broker}); const { ROLES } = await import(${roles});
       const log = { info() {}, warn() {}, error() {} };
       const broker = await startOwnBroker({ home: ${JSON.stringify(home)}, port: 0, log, roles: ROLES });
       process.stdout.write(String(broker.serverPid)); process.exit(3);`,
    );
    const daemon = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    let pid = "";
    daemon.stdout.on("data", (data: Buffer) => (pid += data.toString()));
    await once(daemon, "close");
    await expect.poll(() => processStart(Number(pid)), { timeout: 5_000 }).toBeNull();
  });
});
