import type { CommitEvent, Hash, Key } from "@vlinder/protocol";
import type { Kept, KeptTransaction } from "../../storage/object-storage.ts";
import type { Space } from "../api.ts";
import type { Committer, LiveBranch } from "../draft.ts";
import type { Found } from "../found.ts";
import type { Objects } from "../objects.ts";
import type { Quota } from "../retention/quota.ts";
import type { Watch } from "../retention/watch.ts";
import type { Source } from "../source.ts";
import type { Uploads } from "../uploads.ts";
import type { ValueReads } from "../value-reads.ts";
import type { StateView } from "../view.ts";
import type { Writer } from "../writer.ts";

/** The parts of an engine that turns stand on. */
export interface TurnGround {
  readonly writer: Pick<Writer, "write" | "hold" | "branches" | "durableHead" | "earlier">;
  readonly source: Source;
  readonly committer: Committer;
  readonly objects: Objects;
  readonly reads: ValueReads;
  readonly watch: Watch;
  readonly uploads: Uploads;
  readonly quota: () => Quota;
  /** The state at a commit of the past. */
  readonly past: (at: string) => Promise<StateView>;
  /** As the storage's; null where it can't. */
  readonly keep: (transaction: KeptTransaction) => Kept | null;
  readonly findInPast: (key: Key, at: string) => Found | Promise<Found>;
}

/** Whom a person asks in place of what agent.toml says. */
export interface Instead {
  readonly provider?: string;
  readonly model?: string;
}

/** What a turn is, from its beginning on. */
export interface TurnFacts {
  readonly turn: string;
  readonly session: string;
  /** The first turn of those that did one another again, up to this one; itself, when it does none again. */
  readonly first: string;
  /** It shows what would be, and does nothing in the outside world. */
  readonly isReplay: boolean;
  readonly branch: LiveBranch;
  /** The branch is a new one, which comes to be when the turn is completed. */
  readonly isFork: boolean;
  /** Another provider or model than agent.toml says, for its calls. */
  readonly instead: Instead;
  /** Milliseconds since 1970. */
  readonly started: number;
  /** When it is ended by itself. */
  readonly deadline: number;
}

/** An event of a turn, with values that belong to it. */
export interface TurnEvent {
  readonly kind: CommitEvent["kind"];
  readonly info?: CommitEvent["info"];
  readonly values?: Readonly<Record<string, Uint8Array>>;
}

/** What a turn expected of the state that it began from. */
export interface Expected {
  readonly space: Space;
  readonly key: Key;
  readonly hash: Hash | null;
}
