import {
  type ForgetReply,
  type GcReply,
  keyText,
  LIMITS,
  type QuarantineItem,
  type SpaceItem,
} from "@vlinder/protocol";
import type { Core } from "../daemon-core.ts";
import type { CollectReport } from "../state/retention/collector.ts";
import type { Retention, SpaceReport } from "../state/retention/retention.ts";
import { agentOf } from "./agent-access.ts";
import type { AgentHandlers } from "./service.ts";

type Handlers = Pick<AgentHandlers, "timeline.gc" | "timeline.forget">;

const NOTHING: Omit<CollectReport, "drop"> = {
  commits: { all: 0, pruned: 0, dropped: 0 },
  objects: 0,
  bytes: 0,
  reclaimed: 0,
  notes: [],
};

type Put = SpaceReport["quarantine"][number];

function quarantineItem({ time, until, commits, objects, bytes }: Put): QuarantineItem {
  return { time, until, commits, objects, bytes };
}

/** The space that an agent takes, as replies have it. */
export async function spaceItem(retention: Retention): Promise<SpaceItem> {
  const { used, limit, forecast, pruned, quarantine } = await retention.space();
  return { used, limit, ...forecast, pruned, quarantine: quarantine.map(quarantineItem) };
}

/** `vlinder.v1.<agent>.timeline.gc` and `.forget` */
export function retentionHandlers(core: Core): Handlers {
  return {
    "timeline.gc": async ({ agent, request, progress }): Promise<GcReply> => {
      const { retention } = agentOf(core, agent).engine;
      if (request.undo === true) {
        const { quarantine } = await retention.space();
        const undone = await retention.undo();
        const item = quarantine.find(({ name }) => name === undone.name);
        const space = await spaceItem(retention);
        const { pruned } = space;
        return {
          ...NOTHING,
          commits: { ...NOTHING.commits, pruned },
          run: false,
          undone: item === undefined ? null : quarantineItem(item),
          space,
          notes: ["nothing is collected by itself until `vlinder gc --run` is asked for again"],
        };
      }
      const run = request.run === true;
      const { commits, objects, bytes, reclaimed, notes } = await retention.collect(run, progress);
      return { run, undone: null, commits, objects, bytes, reclaimed, space: await spaceItem(retention), notes };
    },
    "timeline.forget": async ({ agent, request, progress }): Promise<ForgetReply> => {
      const { retention } = agentOf(core, agent).engine;
      const { key, prefix, run = false } = request;
      const asked = key === undefined ? { key: prefix ?? ("" as never), isPrefix: true } : { key, isPrefix: false };
      const { kept, copies, ...report } = await retention.forget(asked, run, progress);
      const owed = run && report.state !== null ? await core.sync.erasedInBucket(agent) : [];
      return {
        ...report,
        kept: kept.slice(0, LIMITS.defaultPage).map((one) => ({ key: keyText(one.key), hash: one.hash })),
        notes: [...copies.map((copy) => `${copy}, which held the values too, was deleted`), ...owed],
      };
    },
  };
}
