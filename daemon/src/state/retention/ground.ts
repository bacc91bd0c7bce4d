import type { Contract, Hash } from "@vlinder/protocol";
import type { ObjectStorage, StoredBranch } from "../../storage/object-storage.ts";
import type { Heads } from "../heads.ts";
import type { Objects } from "../objects.ts";
import type { Pruned } from "./pruned.ts";
import type { QuarantineShelf } from "../../storage/quarantine-shelf.ts";
import type { Uploads } from "../uploads.ts";
import type { Watch } from "./watch.ts";

/** What must stay though no branch reaches it. */
export interface ExtraRoots {
  /** Heads of other machines, as they were last seen. */
  heads(): Promise<readonly Hash[]>;
}

export const NO_ROOTS: ExtraRoots = { heads: async () => [] };

/** What removal of objects stands on: an agent's state, and a way to be alone with it. */
export interface Ground {
  readonly storage: ObjectStorage;
  readonly shelf: QuarantineShelf;
  readonly objects: Objects;
  readonly heads: Heads;
  readonly pruned: Pruned;
  readonly watch: Watch;
  /** What they hold is asked for at the beginning; what comes later is told to the watch. */
  readonly uploads: Pick<Uploads, "reached" | "erase" | "unstored"> & {
    /** Stores what open turns have, for who looks for all that was ever put. Returns the ends of their chains. */
    readonly storeTurns?: () => Promise<readonly Hash[]>;
  };
  /** Runs work while no write is being computed or stored. It must be short. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>;
  /** Waits for the end of what is taking in objects from outside now. */
  readonly received: () => Promise<void>;
  readonly branches: () => readonly StoredBranch[];
  readonly contract: () => Promise<Contract | null>;
  readonly roots: () => ExtraRoots;
  readonly now: () => Date;
}
