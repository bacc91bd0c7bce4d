import { type InitReply, VlinderError } from "@vlinder/protocol";
import { type BucketChoice, writeBucketChoice } from "./bucket-choice.ts";
import { initBucket } from "./bucket-init.ts";
import type { Bucket } from "./buckets/bucket.ts";
import type { OpenBucketOptions } from "./buckets/open.ts";
import { refuseOwnFolder } from "./own-folder.ts";
import { noBucket } from "./sync-errors.ts";
import type { VaultDoor } from "./vault/vault-door.ts";
import type { InitOptions } from "./vault/vault-init.ts";

export interface HomeBucketOptions {
  /** $VLINDER_HOME. */
  readonly home: string;
  readonly door: VaultDoor;
  readonly open: (uri: string, options?: OpenBucketOptions) => Promise<Bucket>;
  readonly now: () => Date;
  /** What to use when the home has no bucket: it is joined at the first chance. */
  readonly wish: string | null;
  /** Told when another bucket is used, or the same one anew. */
  readonly changed: (choice: BucketChoice) => Promise<void>;
}

/** The bucket of a home: the one that it has joined, or else the one that it is to join. */
export class HomeBucket {
  readonly #options: HomeBucketOptions;
  #choice: BucketChoice | null;
  #last: Promise<unknown> = Promise.resolve();
  #joining: Promise<void> | null = null;
  #closed = false;

  constructor(options: HomeBucketOptions, choice: BucketChoice | null) {
    this.#options = options;
    this.#choice = choice;
  }

  /** Also while it has not been joined; null: there is none. */
  get uri(): string | null {
    return this.#choice?.uri ?? this.#options.wish;
  }

  /** Null: none. */
  get joined(): string | null {
    return this.#choice?.uri ?? null;
  }

  /** See `BucketChoice`. */
  get made(): string | null {
    return this.#choice?.made ?? null;
  }

  /** Makes the bucket or joins it, and uses it from now on; see `initBucket`. One at a time: each pins a vault. */
  init(uri: string, how: InitOptions): Promise<InitReply> {
    return this.#inTurn(() => this.#init(uri, how));
  }

  /** Joins the bucket that is wished for, if that has not been done. @throws unavailable: there is none; what `init` throws */
  async join(): Promise<void> {
    const { wish } = this.#options;
    if (this.#choice !== null) return;
    if (wish === null) throw noBucket();
    this.#joining ??= this.#inTurn(async () => {
      // Somebody may have named one meanwhile.
      if (this.#choice === null) await this.#init(wish, {});
    }).finally(() => {
      this.#joining = null;
    });
    await this.#joining;
  }

  /** Opens it, after it has been joined. @throws unavailable: there is none; denied, invalid */
  async open(): Promise<Bucket> {
    await this.join();
    return await this.#options.open(this.uri as string);
  }

  /** Nothing is joined any more; resolves after what is under way, which may wait for a service. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last.catch(() => undefined);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work, work);
    this.#last = next;
    return next;
  }

  async #init(uri: string, how: InitOptions): Promise<InitReply> {
    const { door, home, now, open, changed } = this.#options;
    this.#requireOpen();
    await refuseOwnFolder(home, uri);
    const reply = await initBucket((create) => open(uri, create), door, how);
    // The home may be another process's by now.
    this.#requireOpen();
    const choice = { uri, made: reply.created ? now().toISOString() : this.made };
    await writeBucketChoice(home, choice);
    this.#choice = choice;
    await changed(choice);
    return { bucket: uri, ...reply };
  }

  #requireOpen(): void {
    if (this.#closed) throw new VlinderError("unavailable", "vlinderd stops", { remedy: "start it again" });
  }
}
