import type { Define } from "../catalogue.ts";
import { agentBlocks } from "../render/agents.ts";
import { green } from "../render/color.ts";
import { bucketText, syncErrorLines } from "../render/owed.ts";
import { size } from "../render/size.ts";
import { facts } from "../render/table.ts";
import { duration } from "../render/time.ts";

export const defineStatus: Define = (command, act) => {
  command.action(
    act(async (context) => {
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
