import { asVlinderError } from "@vlinder/protocol";
import { startDaemon } from "./daemon.ts";
import { createLog } from "./observe/log.ts";
import { tuneNode } from "./node-flags.ts";
import { loadConfig } from "./registry/config.ts";
import { openHome } from "./registry/home.ts";

const USAGE = `usage: vlinderd

Serves storage to agents until it is told to stop (Ctrl-C, SIGTERM, \`vlinder stop\`).
VLINDER_HOME names its folder, default ~/.vlinder; its config.toml is all there is to set.
`;

/** How long what still runs has, when all is closed, in milliseconds. */
const EXIT_WAIT = 1_000;

async function main(): Promise<void> {
  tuneNode();
  // Whatever is made from here on, by SQLite and nats-server too, is this user's alone.
  process.umask(0o077);
  const home = await openHome();
  const config = await loadConfig(home);
  const log = createLog(config.log.level);
  // From here on: a signal that comes while it starts must not leave a nats-server behind.
  let hurry = (): void => {};
  let isTold = false;
  const told = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (isTold) hurry();
        isTold = true;
        resolve();
      });
    }
  });
  const daemon = await startDaemon({ home, config, log });
  hurry = () => daemon.hurry();
  await Promise.race([told.then(() => daemon.stop()), daemon.stopped]);
  setTimeout(leave, EXIT_WAIT).unref();
}

/**
 * A bucket that never answers must not keep the process; all that is ours is closed. An exit waits for threads, and one that reads
 * from a drive that is gone never comes back: then only the system can end it.
 */
function leave(): void {
  const isReading = process.getActiveResourcesInfo().some((what) => what.startsWith("FSReq"));
  if (isReading) process.kill(process.pid, "SIGKILL");
  process.exit();
}

if (process.argv.length > 2) {
  const help = ["-h", "--help"].includes(process.argv[2] as string);
  (help ? process.stdout : process.stderr).write(USAGE);
  process.exitCode = help ? 0 : 2;
} else {
  try {
    await main();
  } catch (thrown) {
    const { code, message, remedy } = asVlinderError(thrown);
    process.stderr.write(`vlinderd: ${message} [${code}]\n`);
    if (remedy !== undefined) process.stderr.write(`  what to do: ${remedy}\n`);
    process.exitCode = 1;
  }
}
