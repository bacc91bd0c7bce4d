import { join } from "node:path";
import type { Sync } from "../sync/sync.ts";
import { withOwnHome } from "./own-home.ts";

/** Work on the home's bucket and vault while no daemon has it; agents are not looked at. @throws conflict */
export async function withOwnSync<Result>(work: (sync: Sync) => Promise<Result>): Promise<Result> {
  const { renewDevice } = await import("../registry/device.ts");
  const { Sync: Opened } = await import("../sync/sync.ts");
  return withOwnHome(async (home) => {
    const sync = await Opened.open({
      home: home.path,
      device: home.device,
      newDeviceId: () => renewDevice(join(home.path, "device.json")),
      agents: {
        list: async () => [],
        adopt: () => Promise.reject(new Error("nothing is pulled here")),
        isRemoved: () => false,
      },
      log: { info: () => undefined, warn: () => undefined },
    });
    try {
      return await work(sync);
    } finally {
      await sync.close();
    }
  });
}
