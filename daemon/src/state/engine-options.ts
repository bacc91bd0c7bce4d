import type { AgentName, DeviceId } from "@vlinder/protocol";
import type { ObjectStorage } from "../storage/object-storage.ts";
import type { SegmentStorage } from "../storage/segments/segment-storage.ts";
import type { KeepingOptions } from "./retention/keeping.ts";
import type { TurnNews } from "./turns/turns.ts";

export interface EngineOptions extends KeepingOptions {
  readonly agent: AgentName;
  readonly storage: ObjectStorage;
  /** This home's id; asked anew for each commit, since a home that was copied takes another. */
  readonly device: () => DeviceId;
  readonly now?: () => Date;
  /** Where the history index is kept, and closed with the engine; absent: in memory. */
  readonly segments?: SegmentStorage;
  /** Told of what becomes of turns, when it is durable. */
  readonly onTurn?: (news: TurnNews) => void;
}
