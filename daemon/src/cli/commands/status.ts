import { setTimeout as sleep } from "node:timers/promises";
import { findDaemon } from "@vlinder/agent-runtime";
import type { Define } from "../catalogue.ts";
import { agentBlocks } from "../render/agents.ts";
import { green } from "../render/color.ts";
import { bucketText, syncErrorLines } from "../render/owed.ts";
import { size } from "../render/size.ts";
import { facts } from "../render/table.ts";
import { duration } from "../render/time.ts";

/** How long, in milliseconds. */
const WAIT = 30_000;

/** Waits until a daemon says where it is; who asks next tells what is wrong when none did. */
async function daemonFile(): Promise<void> {
  const end = Date.now() + WAIT;
  while (Date.now() < end) {
    try {
      await findDaemon({});
      return;
    } catch {
      await sleep(100);
    }
  }
}

export const defineStatus: Define = (command, act) => {
  command.option("--wait", "wait until the daemon is up, for half a minute at most");
  command.action(
    act(async (context) => {
      if (command.opts<{ wait?: boolean }>().wait === true) await daemonFile();
      const status = await (await context.client()).admin("daemon.status");
      const { pid, nats, uptime, memory, version } = status;
      const place = nats.url.replace(/^nats:\/\//, "");
      return {
        json: status,
        people: () => [
          facts([
            [
              "daemon",
              [
                green("running"),
                `   pid ${pid}   nats ${place}${nats.own ? "" : " (not its own)"}   up ${duration(uptime)}   ` +
                  `${size(memory)}   ${version}`,
              ],
            ],
            ["home", status.home],
            ["bucket", bucketText(status.sync)],
          ]),
          "",
          ...agentBlocks(status.agents),
          ...syncErrorLines(status.sync),
        ],
      };
    }),
  );
};
