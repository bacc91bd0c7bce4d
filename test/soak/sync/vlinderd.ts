import { startDaemon } from "../../../daemon/src/daemon.ts";
import { createLog } from "../../../daemon/src/observe/log.ts";
import { loadConfig } from "../../../daemon/src/registry/config.ts";
import { openHome } from "../../../daemon/src/registry/home.ts";

/*
 * `vlinderd`, but for one thing: replaced packs go after SOAK_GRACE milliseconds. In config.toml it is a day at least, since machines
 * are away for longer than a soak lasts.
 */

const home = await openHome();
const config = await loadConfig(home);
const daemon = await startDaemon({
  home,
  config: { ...config, sync: { ...config.sync, grace: Number(process.env["SOAK_GRACE"]) } },
  log: createLog(config.log.level),
});
process.once("SIGTERM", () => void daemon.stop());
