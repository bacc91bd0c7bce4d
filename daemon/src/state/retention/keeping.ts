import { type Contract, keyText } from "@vlinder/protocol";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { MemoryShelf, type QuarantineShelf } from "../../storage/quarantine-shelf.ts";
import type { Heads } from "../heads.ts";
import type { Objects } from "../objects.ts";
import type { Writer } from "../writer.ts";
import { Erased } from "./erased.ts";
import type { OnErased } from "./eraser.ts";
import { type ExtraRoots, type Ground, NO_ROOTS } from "./ground.ts";
import { Pruned } from "./pruned.ts";
import { Retention } from "./retention.ts";
import { Watch } from "./watch.ts";

export interface KeepingOptions {
  /** Where what collections drop is kept for a while; default: memory. */
  readonly shelf?: QuarantineShelf;
  /** How long, in milliseconds; default: 7 days. */
  readonly quarantine?: number;
  /** Bytes that the storage may have; null: any number. Asked anew for each put. */
  readonly limit?: () => number | null;
  /** What must stay though no branch reaches it; asked anew for each collection. */
  readonly roots?: () => ExtraRoots;
  /** What else holds bytes of values that are erased. */
  readonly onErased?: OnErased;
  /** Told of what went wrong, or is worth knowing, in work that nobody waits for. */
  readonly report?: (error: unknown, message: string) => void;
}

/** The parts of an engine that removal stands on. */
export interface EngineParts {
  readonly storage: ObjectStorage;
  readonly objects: Objects;
  readonly heads: Heads;
  readonly writer: Writer;
  readonly uploads: Ground["uploads"];
  readonly contract: () => Promise<Contract | null>;
  readonly now: () => Date;
}

const QUARANTINE = 7 * 24 * 60 * 60 * 1000;

/** What an engine knows of dropped states and erased values, and how it drops and erases. */
export class Keeping {
  readonly watch = new Watch();
  readonly pruned: Pruned;
  readonly erased: Erased;
  readonly #receiving = new Set<Promise<unknown>>();
  #report: NonNullable<KeepingOptions["report"]> = () => {};
  #retention: Retention | null = null;

  private constructor(pruned: Pruned, erased: Erased) {
    this.pruned = pruned;
    this.erased = erased;
  }

  static async open(storage: ObjectStorage): Promise<Keeping> {
    return new Keeping(await Pruned.open(storage), await Erased.open(storage));
  }

  get retention(): Retention {
    if (this.#retention === null) throw new Error("retention was not started");
    return this.#retention;
  }

  /** Erasures that a kill broke off are taken up again, beside the agent's work. */
  async start(options: KeepingOptions, { writer, ...parts }: EngineParts): Promise<void> {
    this.#report = options.report ?? this.#report;
    const { pruned, erased, watch } = this;
    this.#retention = await Retention.open({
      ground: {
        ...parts,
        pruned,
        watch,
        shelf: options.shelf ?? new MemoryShelf(),
        alone: (work) => writer.alone(work),
        received: async () => void (await Promise.allSettled(this.#receiving)),
        branches: () => writer.branches.all(),
        roots: options.roots ?? (() => NO_ROOTS),
      },
      erased,
      onErased: options.onErased ?? (async () => {}),
      write: (work) => writer.write(work),
      limit: options.limit ?? (() => null),
      window: options.quarantine ?? QUARANTINE,
    });
    this.#settle();
  }

  /** A collection waits for the end of what is taken in from outside; erasures that came along are carried out behind it. */
  receiving<T>(work: Promise<T>): Promise<T> {
    const known = work.finally(() => {
      this.#receiving.delete(known);
      this.#settle();
    });
    known.catch(() => {});
    this.#receiving.add(known);
    return known;
  }

  async close(): Promise<void> {
    await this.#retention?.close();
  }

  /** Erasures that a kill broke off, or that came from elsewhere. Nobody waits for them. */
  #settle(): void {
    if (this.erased.pending().length === 0) return;
    this.retention.settle().then(
      (kept) => {
        for (const { hash, key } of kept) {
          this.#report(null, `the value ${hash} was erased elsewhere and stays here: the key ${keyText(key)} needs it`);
        }
      },
      (error: unknown) => this.#report(error, "values that were erased could not be removed yet"),
    );
  }
}
